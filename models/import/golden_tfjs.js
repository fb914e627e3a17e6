// Runs TensorFlow.js for golden_on_demand.py, with the npm packages that it names on NODE_PATH.
//     node golden_tfjs.js graph MODEL.json 1,3,416,416 INPUT.f32 OUT      the outputs of a graph model: OUT.NAME.f32
//     node golden_tfjs.js faces PACKAGE SSD.f32 TINY.f32 OUT              face-api's two detectors, by its own code
// Pictures of face-api are [512 or 416, the same, 3] of 0 to 255. Faces go to OUT.json as score, x, y, width, height.
const fs = require('fs');
const path = require('path');

const read = (file) => new Float32Array(new Uint8Array(fs.readFileSync(file)).buffer);
const write = (file, tensor) => fs.writeFileSync(file, Buffer.from(new Float32Array(tensor.dataSync()).buffer));

async function graph(json, shape, input, out) {
  const tf = require('@tensorflow/tfjs-core');
  require('@tensorflow/tfjs-backend-cpu');
  const { loadGraphModel } = require('@tensorflow/tfjs-converter');
  const model = JSON.parse(fs.readFileSync(json));
  const parts = model.weightsManifest.flatMap((g) => g.paths.map((p) => fs.readFileSync(path.join(path.dirname(json), p))));
  const data = new Uint8Array(Buffer.concat(parts)).buffer;
  const specs = model.weightsManifest.flatMap((g) => g.weights);
  const loaded = await loadGraphModel({
    load: async () => ({ modelTopology: model.modelTopology, weightSpecs: specs, weightData: data, signature: model.signature }),
  });
  const names = loaded.outputs.map((o) => o.name);
  const results = [await loaded.executeAsync(tf.tensor(read(input), shape.split(',').map(Number)), names)].flat();
  results.forEach((tensor, i) => write(`${out}.${names[i].replace(':0', '').replace(/\//g, '_')}.f32`, tensor));
}

async function faces(folder, ssd, tiny, out) {
  const tf = require('@tensorflow/tfjs');
  require('@tensorflow/tfjs-backend-wasm');
  await tf.setBackend('wasm');
  await tf.ready();
  const api = require(path.join(path.resolve(folder), 'dist/face-api.node-wasm.js'));
  const { ssdMobilenetv1, tinyFaceDetector } = api.nets;
  for (const net of [ssdMobilenetv1, tinyFaceDetector]) await net.loadFromDisk(path.join(folder, 'model'));
  const picture = async (file, side) => api.toNetInput(api.tf.tensor3d(read(file), [side, side, 3]));
  const list = (found) => found.map((d) => [d.score, d.box.x, d.box.y, d.box.width, d.box.height]);

  let x = await picture(ssd, 512);
  const raw = ssdMobilenetv1.forwardInput(x);
  write(`${out}.boxes.f32`, raw.boxes[0]);
  write(`${out}.scores.f32`, raw.scores[0]);
  const found = { ssd: list(await ssdMobilenetv1.locateFaces(x)) };
  x = await picture(tiny, 416);
  write(`${out}.map.f32`, tinyFaceDetector.forwardInput(x, 416));
  found.tiny = list(await tinyFaceDetector.locateFaces(x, { inputSize: 416 }));
  fs.writeFileSync(`${out}.json`, JSON.stringify(found));
}

const [, , what, ...rest] = process.argv;
({ graph, faces })[what](...rest).catch((error) => {
  console.error(error);
  process.exit(1);
});
