// The quality gate where it can run here: the rules on pixels, and the gate's network (radiograph/gate_rules.py).

const LIMITS = { shorterSide: 128, aspect: 2.5, blank: 12, lowContrast: 96, saturation: 0.3, tint: 0.04, probability: 0.5 };
const REFUSING = new Set(["not_a_radiograph", "not_a_chest", "too_small", "blank", "rotated"]);
const ORDER = ["not_a_radiograph", "not_a_chest", "too_small", "blank", "rotated", "inverted", "low_contrast", "photo_of_film", "coloured", "phantom"];

export const refuses = (code) => REFUSING.has(code);

// Codes of what was noticed, refusals first. `seen`: probabilities of the network, or null.
export function remarks(image, seen) {
  const codes = new Set([...rules(image), ...(seen ? seenBy(seen) : [])]);
  return ORDER.filter((code) => codes.has(code));
}

function* rules({ pixels, pixelWidth, pixelHeight, width, height, saturation, phantom }) {
  const [shorter, longer] = [Math.min(width, height), Math.max(width, height)];
  if (shorter < LIMITS.shorterSide) yield "too_small";
  if (longer > LIMITS.aspect * shorter) yield "not_a_chest";
  const range = greyRange(pixels, pixelWidth, pixelHeight);
  if (range < LIMITS.blank) yield "blank";
  else if (range < LIMITS.lowContrast) yield "low_contrast";
  if (saturation >= LIMITS.saturation) yield "not_a_radiograph";
  else if (saturation >= LIMITS.tint) yield "coloured";
  if (phantom) yield "phantom";
}

function* seenBy(seen) {
  const shows = (name) => (seen[name] ?? 0) >= LIMITS.probability;
  if (shows("not_a_chest")) {
    yield shows("not_a_radiograph") ? "not_a_radiograph" : "not_a_chest";
    return;
  }
  if (["rotated_90", "rotated_180", "rotated_270"].some(shows)) yield "rotated";
  for (const [name, code] of [["inverted", "inverted"], ["photo_of_film", "photo_of_film"], ["phantom", "phantom"]])
    if (shows(name)) yield code;
}

// Between the 1st and 99th percentile of evenly spaced pixels, as NumPy interpolates them.
function greyRange(pixels, width, height) {
  const counts = new Uint32Array(256);
  let total = 0;
  for (let y = 0; y < height; y += Math.max(1, Math.floor(height / 256)))
    for (let x = 0; x < width; x += Math.max(1, Math.floor(width / 256))) {
      counts[pixels[y * width + x]] += 1;
      total += 1;
    }
  const ranked = (rank) => {
    let below = 0;
    for (let level = 0; level < 256; level++) if ((below += counts[level]) > rank) return level;
    return 255;
  };
  const percentile = (part) => {
    const place = part * (total - 1);
    const low = ranked(Math.floor(place));
    return low + (ranked(Math.ceil(place)) - low) * (place - Math.floor(place));
  };
  return percentile(0.99) - percentile(0.01);
}
