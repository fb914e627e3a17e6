#!/usr/bin/env python3
"""Makes the seeds of the fuzz targets in fuzz/corpus/TARGET, from tests/data, fuzz/seeds and the kept
corpus in fuzz/corpus/TARGET.tar.xz. What is there already stays."""

import base64
import pathlib
import shutil
import struct
import tarfile

FUZZ = pathlib.Path(__file__).resolve().parent
DATA = FUZZ.parent / "tests" / "data"
SEPARATOR = b"\n%%%%\n"


def put(target, name, content):
    folder = FUZZ / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"seed_{name}").write_bytes(content)


def boxes(content):
    """The boxes of an MP4 file: type and content."""
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        if size < 8:
            return
        yield kind, content[at + 8 : at + size]
        at += size


def find(content, *path):
    for kind, body in boxes(content):
        if kind == path[0]:
            return find(body, *path[1:]) if path[1:] else body
    raise KeyError(path)


def coded_frames(file):
    """The `avcC` box and the coded frames of a file with one sample per entry of `stsz`."""
    stbl = find(file, b"moov", b"trak", b"mdia", b"minf", b"stbl")
    entry = find(stbl, b"stsd")[8:]
    avcc = find(entry[8 + 78 :], b"avcC")
    sizes = find(stbl, b"stsz")
    sizes = struct.unpack(f">{len(sizes) // 4 - 3}I", sizes[12:])
    stco = find(stbl, b"stco")
    at = struct.unpack(">I", stco[8:12])[0]
    frames = []
    for size in sizes:
        frames.append(file[at : at + size])
        at += size
    return avcc, frames


def nal_units(frame):
    at = 0
    while at + 4 <= len(frame):
        length = struct.unpack(">I", frame[at : at + 4])[0]
        yield frame[at + 4 : at + 4 + length]
        at += 4 + length


def sets_of(avcc):
    at = 6
    length = struct.unpack(">H", avcc[at : at + 2])[0]
    sps = avcc[at + 2 : at + 2 + length]
    at += 2 + length + 1
    length = struct.unpack(">H", avcc[at : at + 2])[0]
    return sps, avcc[at + 2 : at + 2 + length]


def rtsp_session(avcc, frames, challenge):
    sps, pps = (base64.b64encode(nal).decode() for nal in sets_of(avcc))
    sdp = (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\na=control:*\r\n"
        "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        f"a=fmtp:96 packetization-mode=1;profile-level-id=42c01e;sprop-parameter-sets={sps},{pps}\r\n"
        "a=control:track1\r\n"
    )
    head = "RTSP/1.0 200 OK\r\nCSeq: @\r\n"
    parts = []
    if challenge:
        parts.append(f"RTSP/1.0 401 Unauthorized\r\nCSeq: @\r\n{challenge}\r\n\r\n".encode())
    parts.append(
        f"{head}Content-Base: rtsp://127.0.0.1/1/\r\nContent-Type: application/sdp\r\n"
        f"Content-Length: {len(sdp)}\r\n\r\n{sdp}".encode()
    )
    parts.append(
        f"{head}Session: 12345678;timeout=60\r\n"
        "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=0000002a\r\n\r\n".encode()
    )
    packets = b""
    number = 1
    for i, frame in enumerate(frames):
        units = list(nal_units(frame))
        for j, unit in enumerate(units):
            marker = 0x80 if j + 1 == len(units) else 0
            rtp = struct.pack(">BBHII", 0x80, 96 | marker, number, 3600 * i, 42)
            if len(unit) > 300:
                # FU-A, in two fragments.
                half = len(unit) // 2
                indicator = bytes([unit[0] & 0xE0 | 28])
                payloads = [
                    indicator + bytes([0x80 | unit[0] & 0x1F]) + unit[1:half],
                    indicator + bytes([0x40 | unit[0] & 0x1F]) + unit[half:],
                ]
            else:
                payloads = [unit]
            for k, payload in enumerate(payloads):
                last = k + 1 == len(payloads)
                rtp = struct.pack(
                    ">BBHII", 0x80, 96 | (marker if last else 0), number, 3600 * i, 42
                )
                packets += b"$\0" + struct.pack(">H", 12 + len(payload)) + rtp + payload
                number += 1
    report = struct.pack(">BBHIIIIII", 0x80, 200, 6, 42, 3900000000, 0, 3600, 10, 1000)
    packets += b"$\1" + struct.pack(">H", len(report)) + report
    play = f"{head}Session: 12345678\r\nRTP-Info: url=rtsp://127.0.0.1/1/track1;seq=1;rtptime=0\r\n\r\n"
    parts.append(play.encode() + packets)
    return SEPARATOR.join(parts)


def videos():
    for path in sorted((DATA / "video").glob("*.m*")):
        if path.suffix in (".mp4", ".mov"):
            put("mp4", path.stem, path.read_bytes())
    for name in ("baseline", "slices", "bframes", "uneven"):
        avcc, frames = coded_frames((DATA / "video" / f"{name}.mp4").read_bytes())
        put("avcc", name, avcc)
        put("h264", name, SEPARATOR.join([avcc, *frames[:6]]))
    avcc, frames = coded_frames((DATA / "video" / "baseline.mp4").read_bytes())
    put("rtsp", "basic", rtsp_session(avcc, frames[:4], 'WWW-Authenticate: Basic realm="a"'))
    digest = 'WWW-Authenticate: Digest realm="a", nonce="b", algorithm=MD5'
    put("rtsp", "digest", rtsp_session(avcc, frames[:2], digest))
    put("rtsp", "open", rtsp_session(avcc, frames[:6], None))
    put("y4m", "small", b"YUV4MPEG2 W4 H2 F30000:1001 Ip A1:1 C420jpeg\n" + b"FRAME\n0123456789ab" * 2)
    put("y4m", "full", b"YUV4MPEG2 W3 H3 F25:1 XCOLORRANGE=FULL\nFRAME Xa\n" + bytes(17))


def texts():
    entries = [
        "<font size=\"28\">FrameCnt: 7, DiffTime: 33ms\n2021-12-25 12:27:52.373\n[iso: 220] [latitude: 3.41531] "
        "[longitude: -3.37440] [rel_alt: -2.400 abs_alt: 0.401] [gb_yaw: 1.5 gb_pitch: -30.0 gb_roll: 0.0]</font>",
        "F/5.6, GPS (-58.851745, -34.237922, 15), D 698.70m, H 85.80m, G.PRY (-24.4\u00b0, 0.0\u00b0, 110.4\u00b0)",
        "HOME(-58.4563,-34.7386) 2017.07.03 10:15:03\nGPS(-58.4563,-34.7383,19) BAROMETER:20.1",
        "GPS(36.6146,-6.1120,3.0M) BAROMETER:0.3M",
    ]
    for i, text in enumerate(entries):
        srt = "".join(f"{n}\n00:00:0{n},345 --> 00:00:0{n},378\n{text}\n\n" for n in (1, 2))
        put("srt", str(i), srt.encode())
    clock = "1\n2017.08.05 14:11:51,393,525,393,525\n[latitude : -20.2533] [longtitude : 149.0251]\n\n"
    put("srt", "clock", (clock + clock.replace("51,", "52,")).encode())
    rows = "1,1,10,10,20,30,1,1,1\n1,2,50,10,20,30,1,1,1\n2,1,12,10,20,30,1\n3 1 14 10 20 30 0\n"
    moved = rows.replace(",10,20", ",11,20")
    put("mot", "two", rows.encode() + SEPARATOR + moved.encode())
    annotations = (
        '{"images": [{"id": 1, "file_name": "a.jpg", "width": 16, "height": 12}], "categories": '
        '[{"id": 1, "name": "person"}, {"id": 2, "name": "car"}], "annotations": [%s]}'
    )
    shapes = [
        '[[1, 1, 10, 1, 10, 8]]',
        '{"size": [12, 16], "counts": [10, 20, 162]}',
        '{"size": [12, 16], "counts": ":d0R5"}',
    ]
    objects = ", ".join(
        f'{{"image_id": 1, "category_id": {1 + i % 2}, "area": 40.0, "bbox": [{i}, 1, 9, 7], '
        f'"iscrowd": {int(i == 1)}, "segmentation": {shape}}}'
        for i, shape in enumerate(shapes)
    )
    results = '[{"image_id": 1, "category_id": 1, "bbox": [0, 1, 9, 7], "score": 0.9}]'
    put("coco", "shapes", (annotations % objects).encode() + SEPARATOR + results.encode())
    requests = [
        "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer fuzzing-token\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: mobilens=66757a7a696e672d746f6b656e\r\n\r\n",
        "GET /live.mjpeg?stream=one&show=boxes,labels HTTP/1.1\r\nHost: localhost\r\n"
        "Authorization: Bearer fuzzing-token\r\n\r\n",
        "GET /events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer fuzzing-token\r\n\r\n",
        "GET /snapshot.jpg?stream=two HTTP/1.0\r\nAuthorization: Bearer fuzzing-token\r\n\r\n",
        "POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Type: "
        "application/x-www-form-urlencoded\r\nContent-Length: 19\r\n\r\ntoken=fuzzing-token",
        "GET /login HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\nHEAD /healthz HTTP/1.1\r\n"
        "Host: localhost\r\nConnection: close\r\n\r\n",
        "POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntoke\r\n0\r\n\r\n",
    ]
    for i, request in enumerate(requests):
        put("web", str(i), request.encode())


def configurations():
    card = (DATA / "tiny" / "tiny.yaml").read_bytes()
    pipelines = [*(FUZZ.parent / "pipelines").glob("*.yaml"), *(DATA / "config").glob("*.yaml")]
    for path in sorted(pipelines):
        text = path.read_bytes()
        if len(text) < 6000:
            put("yaml", path.stem, text + SEPARATOR + card)
    for path in sorted((FUZZ.parent / "models").glob("*.yaml")):
        text = path.read_bytes()
        if len(text) < 6000:
            pipeline = b"source: { video: { path: clip.mp4 } }\nmodel: card.yaml\n"
            put("yaml", f"card_{path.stem}", pipeline + SEPARATOR + text)
    for path in sorted((DATA / "tiny").glob("*.onnx")):
        put("onnx", path.stem, card + SEPARATOR + path.read_bytes())


def kept():
    for folder in sorted((FUZZ / "seeds").iterdir()):
        for path in sorted(folder.iterdir()):
            put(folder.name, path.name, path.read_bytes())
    for path in sorted((FUZZ / "corpus").glob("*.tar.xz")):
        target = FUZZ / "corpus" / path.name.removesuffix(".tar.xz")
        target.mkdir(exist_ok=True)
        with tarfile.open(path) as archive:
            for member in archive:
                name = pathlib.PurePath(member.name).name
                if member.isfile():
                    with archive.extractfile(member) as source, open(target / name, "wb") as out:
                        shutil.copyfileobj(source, out)


if __name__ == "__main__":
    (FUZZ / "corpus").mkdir(exist_ok=True)
    videos()
    texts()
    configurations()
    kept()
