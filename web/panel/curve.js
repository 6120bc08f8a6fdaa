// Best so far and every candidate against cost; rounds, prunings, and the held-out judge beside.
import { el, number } from "./dom.js";

const HEIGHT = 92;
const EDGE = { top: 8, right: 8, bottom: 14, left: 36 };
const MOST_ROUNDS = 60;

// search: one of a state's `searches`. judge: which score. width: pixels. onPick: called with the id of a point that was clicked.
export function drawCurve(search, judge, width, onPick) {
  const points = search.points.map(([id, at, scores, heldOut, level, parent, round]) => ({
    id, at, score: scores[judge] ?? null, heldOut, finished: level === 0, parent, round,
  }));
  const shown = points.filter((point) => point.score !== null);
  if (shown.length < 2) return null;
  const end = Math.max(search.budget?.nfe ?? 0, search.spent?.nfe ?? 0, ...points.map((point) => point.at));
  const x = scale(0, end, EDGE.left, width - EDGE.right);
  const scores = range(shown.map((point) => point.score));
  const y = scale(...scores, HEIGHT - EDGE.bottom, EDGE.top);
  const best = bestSoFar(search, points);
  const parts = [
    ...axes(scores, y, width, end),
    ...roundMarks(points, x),
    ...branches(shown, x, y),
    heldOutLine(points, best, x),
    stepLine(best.map(([at, point]) => [x(at), y(point.score)]), x(search.spent?.nfe ?? end), "nsp-best"),
    ...shown.map((point) => dot(point, x, y, pruned(point, points), search, onPick)),
  ];
  return el("svg", { class: "nsp-curve", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": said(search, best) }, ...parts);
}

function said(search, best) {
  const last = best.at(-1)?.[1];
  const spent = search.spent?.nfe ?? 0;
  return `Scores against cost. Best so far ${number(last?.score)} after ${spent} of ${search.budget?.nfe ?? spent} NFE.`;
}

function scale(from, to, low, high) {
  const span = to - from || 1;
  const middle = to === from ? 0.5 : null;
  return (value) => low + (middle ?? Math.max(0, (value - from) / span)) * (high - low);
}

// Where the worst quarter is far below the others, it lies on the floor.
function range(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const high = sorted.at(-1);
  const at = (share) => sorted[Math.floor(share * (sorted.length - 1))];
  const fence = at(0.25) - 0.5 * (at(0.75) - at(0.25));
  return [sorted.length < 6 ? sorted[0] : Math.max(sorted[0], fence), high];
}

function bestSoFar(search, points) {
  const byId = new Map(points.map((point) => [point.id, point]));
  return search.curve
    .map(([at, id]) => [at, byId.get(id)])
    .filter(([, point]) => point && point.score !== null);
}

function stepLine(corners, right, kind) {
  if (!corners.length) return null;
  const path = corners.map(([x, y], i) => (i ? `H${x.toFixed(1)}V${y.toFixed(1)}` : `M${x.toFixed(1)} ${y.toFixed(1)}`));
  return el("path", { class: kind, d: `${path.join("")}H${Math.max(right, corners.at(-1)[0]).toFixed(1)}` });
}

// On a scale of its own: held-out judges speak in other numbers.
function heldOutLine(points, best, x) {
  const known = points.map((point) => point.heldOut).filter((value) => value !== null && value !== undefined);
  if (known.length < 2) return null;
  const y = scale(...range(known), HEIGHT - EDGE.bottom, EDGE.top);
  const corners = best.filter(([, point]) => point.heldOut !== null).map(([at, point]) => [x(at), y(point.heldOut)]);
  return stepLine(corners, x(points.at(-1).at), "nsp-held");
}

function axes(scores, y, width, end) {
  const [low, high] = scores;
  const label = (value, at) => el("text", { class: "nsp-tick", x: EDGE.left - 4, y: at + 3, "text-anchor": "end", text: number(value) });
  return [
    el("line", { class: "nsp-axis", x1: EDGE.left, x2: width - EDGE.right, y1: HEIGHT - EDGE.bottom + 3, y2: HEIGHT - EDGE.bottom + 3 }),
    label(high, y(high)),
    low === high ? null : label(low, y(low)),
    el("text", { class: "nsp-tick", x: width - EDGE.right, y: HEIGHT - 1, "text-anchor": "end", text: `${end} NFE` }),
  ].filter(Boolean);
}

function roundMarks(points, x) {
  const starts = points.filter((point, i) => i && point.round !== points[i - 1].round);
  if (!starts.length || starts.length > MOST_ROUNDS) return [];
  const at = starts.map((point) => points[points.indexOf(point) - 1].at);
  return at.map((nfe) => el("line", { class: "nsp-round", x1: x(nfe), x2: x(nfe), y1: EDGE.top, y2: HEIGHT - EDGE.bottom }));
}

// From a candidate on the way to those that went on from it.
function branches(points, x, y) {
  const byId = new Map(points.map((point) => [point.id, point]));
  return points
    .map((point) => [byId.get(point.parent), point])
    .filter(([from]) => from)
    .map(([from, to]) => el("line", { class: "nsp-branch", x1: x(from.at), y1: y(from.score), x2: x(to.at), y2: y(to.score) }));
}

// Unfinished, and nothing went on from it although the search did.
function pruned(point, points) {
  return !point.finished && points.at(-1).round > point.round && !points.some((other) => other.parent === point.id);
}

function dot(point, x, y, gone, search, onPick) {
  const candidate = search.board.find((one) => one.id === point.id);
  const chosen = point.id === search.chosen;
  const kind = ["nsp-dot", !point.finished && "nsp-open", gone && "nsp-pruned", chosen && "nsp-chosen", candidate && "nsp-known"];
  const words = `Candidate ${point.id + 1}: ${number(point.score)}${gone ? ", pruned" : point.finished ? "" : ", on the way"}`;
  const circle = el("circle", {
    class: kind.filter(Boolean).join(" "), cx: x(point.at).toFixed(1), cy: y(point.score).toFixed(1), r: chosen ? 4 : 2.6,
    onclick: candidate && (() => onPick(point.id)),
  });
  circle.append(el("title", { text: words }));
  return circle;
}
