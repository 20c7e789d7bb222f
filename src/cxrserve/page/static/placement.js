// Where an image lies in a network's square, as `models/preprocess.py` puts it there.

export function placement({ side, fit }, width, height) {
  let across = width;
  let down = height;
  let left = 0;
  let top = 0;
  if (fit !== "stretch" && width !== height) {
    const framed = fit === "crop" ? Math.min(width, height) : Math.max(width, height);
    left = offset(width, framed);
    top = offset(height, framed);
    across = down = framed;
  }
  const scaleX = side / across;
  const scaleY = side / down;
  return {
    side,
    scaleX,
    scaleY,
    left: left * scaleX,
    top: top * scaleY,
    toSquare: (x, y) => [x * scaleX + left * scaleX, y * scaleY + top * scaleY],
    toImage: (x, y) => [(x - left * scaleX) / scaleX, (y - top * scaleY) / scaleY],
  };
}

const offset = (length, framed) =>
  framed >= length ? Math.floor((framed - length) / 2) : -Math.floor((length - framed) / 2);
