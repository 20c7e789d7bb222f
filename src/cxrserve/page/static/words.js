// What codes mean, in the words of somebody who reads films.

const LABELS = {
  covid19: "COVID-19", effusion: "Pleural effusion", mass: "Mass", nodule: "Nodule", normal: "Normal film",
  right_lung: "Right lung", left_lung: "Left lung", pleural_thickening: "Pleural thickening",
  cardiothoracic_ratio: "Cardiothoracic ratio",
};

export function labelWords(label) {
  const spaced = label.replaceAll("_", " ");
  return LABELS[label.toLowerCase()] ?? spaced.charAt(0).toUpperCase() + spaced.slice(1);
}

export const POINTS = {
  screening: ["Screening", "misses little; more false alarms"],
  balanced: ["Balanced", "misses and false alarms weighed alike"],
  rule_in: ["Rule in", "alarms only where it is sure; misses more"],
};

export const pointWords = (point) => POINTS[point]?.[0] ?? labelWords(point);

// Verbal bands of certainty in radiology reports: Panicek and Hricak, AJR 2016; 207: W2.
const BANDS = [[0.9, "very likely"], [0.625, "probable"], [0.375, "possible"], [0.1, "less likely"], [0, "unlikely"]];

export const certainty = (probability) => BANDS.find(([least]) => probability >= least)[1];

export function inHundred(probability) {
  if (probability < 0.005) return "fewer than 1 in 100";
  if (probability > 0.995) return "more than 99 in 100";
  return `about ${Math.round(probability * 100)} in 100`;
}

// Reasons and warnings: what was seen, and what to do about it.
const REMARKS = {
  not_a_radiograph: "This does not look like an X-ray.",
  not_a_chest: "This does not look like a frontal chest film.",
  too_small: "The picture is too small to read. Send the original, not a thumbnail.",
  blank: "The picture is blank: hardly any grey levels are used.",
  rotated: "The film is turned. Turn it upright and add it again.",
  lateral_view: "This is a lateral view; the networks know frontal films only.",
  unusual_view: "This is an oblique or decubitus view; the networks know PA and AP films only.",
  inverted: "The film looks inverted: air is bright where it should be dark.",
  low_contrast: "The film is flat: little of the grey scale is used. Check window and exposure.",
  photo_of_film: "This looks like a photograph of a film or screen. The original is read better.",
  coloured: "The picture is tinted; only its brightness was read.",
  paediatric: "This is a child’s film. Check that the network was trained on this age.",
  phantom: "This is a drawn phantom, not a patient.",
  age_unknown: "The patient’s age is not known; this network was trained on certain ages only.",
  outside_training_population: "This network was not trained on patients of this age.",
  content_type_mismatch: "The file is of another kind than its name says.",
  further_pictures_ignored: "The file holds further pictures; the first was read.",
  trailing_bytes_ignored: "There is more behind the picture’s end; it was ignored.",
  no_window: "The DICOM file names no window; it is shown from darkest to brightest.",
  for_processing: "The DICOM file is raw detector data (FOR PROCESSING), not made for viewing.",
  truncated: "The file is cut off. Send it again.",
  corrupt: "The file is damaged. Export it again from where it is stored.",
  no_pixels: "The DICOM file holds no picture.",
  multi_frame: "The DICOM file holds several frames; one film at a time is read.",
  decoder_timeout: "The file took too long to decode.",
};

export const remarkWords = (code, detail = "") => REMARKS[code] ?? sentence(detail || code);

const PROBLEMS = {
  empty_upload: "The file is empty.",
  too_large: "The file is too large.",
  unsupported_media_type: "This is no JPEG, PNG or DICOM picture.",
  unreadable_image: "The file cannot be read.",
  not_readable_as_chest: "The quality gate does not let this film through.",
  deadline_exceeded: "There was no answer in time.",
  overloaded: "The service is busy.",
  not_ready: "The service is starting or stopping.",
  model_not_found: "A network that was asked for is not there any more.",
  needs_service: "This file can only be read by the service; it has stayed on this device, unread.",
};

export function problemWords(problem) {
  const reasons = (problem.reasons ?? []).map((code) => remarkWords(code));
  return [PROBLEMS[problem.code] ?? sentence(problem.detail ?? "It failed."), ...reasons].join(" ");
}

export const STATES = {
  waiting: "waiting", sending: "sending", reading: "reading", busy: "service busy", held: "held: service gone",
  done: "read", refused: "refused", failed: "failed", cancelled: "cancelled",
};

export const milliseconds = (value) => (value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`);

export function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}
