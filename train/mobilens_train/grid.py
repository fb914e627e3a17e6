"""Pictures of what a network says in the middle of its training."""
import numpy as np
from PIL import Image, ImageDraw


def draw_grid(path, x, mean, std, decoded, scores, targets):
    """Nine samples with what is found at .4 (green) and what is there (white)."""
    side = x.shape[2]
    x, decoded, scores, targets = x.detach().cpu(), decoded.cpu(), scores.cpu(), targets.cpu()
    mean, std = mean.cpu(), std.cpu()
    grid = Image.new("RGB", (3 * side, 3 * side))
    for index in range(min(9, len(x))):
        pixels = (x[index].permute(1, 2, 0) * std + mean).clip(0, 255).byte().numpy()
        picture = Image.fromarray(pixels)
        pen = ImageDraw.Draw(picture)
        for rows, colour in ((targets[index].any(-1).nonzero()[:, 0], "white"), ((scores[index].amax(-1) >= 0.4).nonzero()[:, 0], "lime")):
            for row in rows.tolist():
                y1, x1, y2, x2 = (decoded[index, row] * side).clamp(0, side).tolist()
                if x2 > x1 and y2 > y1:
                    pen.rectangle([x1, y1, x2, y2], outline=colour)
        grid.paste(picture, (index % 3 * side, index // 3 * side))
    grid.save(path)


def draw_maps(path, x, mean, std, wanted, said):
    """Three samples, each with the classes of the teacher and of the student: `wanted` and `said` [n, classes, h, w]."""
    side = x.shape[2]
    colours = np.random.default_rng(1).integers(40, 256, (wanted.shape[1], 3)).astype(np.uint8)
    colours[0] = 0
    grid = Image.new("RGB", (3 * side, min(3, len(x)) * side))
    for row in range(min(3, len(x))):
        pixels = (x[row].detach().cpu().permute(1, 2, 0) * std.cpu() + mean.cpu()).clip(0, 255).byte().numpy()
        grid.paste(Image.fromarray(pixels), (0, row * side))
        for column, logits in enumerate((wanted, said), 1):
            classes = logits[row].detach().argmax(0).cpu().numpy()
            grid.paste(Image.fromarray(colours[classes]).resize((side, side), Image.NEAREST), (column * side, row * side))
    grid.save(path)
