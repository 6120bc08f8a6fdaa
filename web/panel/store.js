// What is known of each search node: its last search, and what was picked since. Fed by events, outputs, history and pictures.
import { api } from "../../../scripts/api.js";
import { rootGraph, searchingNodes, workflowId } from "./nodes.js";
import { firstSeed, isASeed } from "./recipes.js";

const UI = "noise_search_state";
const KEPT = "NoiseSearch.Panel.States"; // in the browser, for after a restart of the server
const MOST_KEPT = 12;
const LARGEST_KEPT = 60_000; // characters of one
const ENTRIES = 64; // of the server's history

const known = new Map(); // "workflow|execution id" -> {search, picked, ended, old}; old: read somewhere, not heard of as it happened
const asked = new Set(); // workflows whose history was read
const listeners = new Set();
let loading = true; // a prompt that runs now may have told something before anybody listened

export function onChange(listener) {
  listeners.add(listener);
}

function keyOf(workflow, node) {
  return `${workflow}|${node}`;
}

export function entryOf(executionId) {
  return known.get(keyOf(workflowId(), executionId)) ?? null;
}

// The state that an entry is about.
function shown(entry) {
  return entry.picked ?? entry.search;
}

function tell(key, entry) {
  known.set(key, entry);
  for (const listener of listeners) listener(key);
}

export function belongsHere(key) {
  return key.startsWith(`${workflowId()}|`);
}

export function nodeOf(key) {
  return key.slice(key.lastIndexOf("|") + 1);
}

function isState(state) {
  return state?.noise_search === 1 && Array.isArray(state.searches) && typeof state.node === "string";
}

// old: the state was read somewhere; it does not say when it was made.
export function remember(state, old = false) {
  if (!isState(state)) return;
  const key = keyOf(state.workflow, state.node);
  const before = known.get(key);
  const again = before?.search?.prompt === state.prompt;
  if (again && before.search.phase === "done") {
    before.old &&= old;
    return; // an event that is late, or told again
  }
  if (old && !mayReplace(before, state)) return;
  const entry = state.picked
    ? { search: before?.search ?? null, picked: state, ended: null, old }
    : { search: state, picked: null, ended: null, old };
  if (state.phase === "done" && state.workflow) keep(key, entry);
  tell(key, entry);
}

// What was read replaces what was read before, and the end of a search replaces what was heard of it; it never replaces another search.
function mayReplace(before, state) {
  if (!before || before.old) return true;
  return shown(before).prompt === state.prompt && shown(before).phase !== "done";
}

// {node: output} of an `executed` event; old: out of the front end's own store
export function rememberOutputs(outputs, old = false) {
  for (const output of Object.values(outputs ?? {})) {
    if (Array.isArray(output?.[UI])) remember(output[UI].at(-1), old); // a list of inputs makes several
  }
}

// how: "cancelled" or "failed"
export function ended(prompt, how) {
  for (const [key, entry] of known) {
    const state = shown(entry);
    if (state.prompt === prompt && state.phase !== "done") tell(key, { ...entry, ended: how });
  }
}

// -- after a reload -----------------------------------------------------------------------------------------------------

// The history is read once for each workflow: what happens after that is heard.
export async function restore() {
  const workflow = workflowId();
  const ids = searchingNodes().map(([id]) => id);
  if (!workflow || !ids.some((id) => !heard(id))) return;
  fromBrowser(workflow, ids);
  fromPicture(ids);
  if (asked.has(workflow)) return;
  asked.add(workflow);
  await fromHistory(workflow).catch((error) => {
    asked.delete(workflow);
    throw error;
  });
}

// Once more, where a prompt has ended that may have told something while the page was loading.
export async function succeeded(prompt) {
  const missed = [...known.values()].map(shown).some((state) => state.prompt === prompt && state.phase !== "done");
  if (!loading && !missed) return;
  loading = false;
  asked.clear();
  await restore();
}

function heard(id) {
  const entry = entryOf(id);
  return Boolean(entry && !entry.old && shown(entry).phase === "done");
}

async function fromHistory(workflow) {
  const reply = await api.fetchApi(`/history?max_items=${ENTRIES}`);
  if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
  const entries = Object.values(await reply.json());
  entries.sort((a, b) => (b.prompt?.[0] ?? 0) - (a.prompt?.[0] ?? 0)); // the newest first
  const found = new Map();
  for (const entry of entries) {
    for (const output of Object.values(entry.outputs ?? {})) {
      const state = Array.isArray(output?.[UI]) ? output[UI].at(-1) : null;
      if (!isState(state) || state.workflow !== workflow) continue;
      const key = keyOf(workflow, state.node);
      const here = found.get(key) ?? { search: null, picked: null, ended: null };
      if (here.search) continue;
      if (state.picked) here.picked ??= state;
      else here.search = state;
      found.set(key, here);
    }
  }
  for (const [key, entry] of found) {
    const now = known.get(key);
    if (mayReplace(now, shown(entry))) tell(key, { ...entry, search: entry.search ?? now?.search ?? null, old: true });
    else if (!now.search) tell(key, { ...now, search: entry.search }); // what was picked from, before the page was loaded
  }
}

function kept() {
  try {
    const value = JSON.parse(localStorage.getItem(KEPT) ?? "[]");
    return Array.isArray(value) ? value.filter((pair) => Array.isArray(pair) && isState(pair[1]?.search)) : [];
  } catch {
    return []; // storage that is switched off or damaged
  }
}

function keep(key, entry) {
  const state = entry.search;
  if (!state) return;
  const slim = { ...state, searches: state.searches.map((one) => ({ ...one, points: one.points.slice(0, 100) })) };
  if (JSON.stringify(slim).length > LARGEST_KEPT) return;
  const others = kept().filter(([other]) => other !== key);
  try {
    const all = [...others.slice(1 - MOST_KEPT), [key, { search: slim, picked: entry.picked }]];
    localStorage.setItem(KEPT, JSON.stringify(all));
  } catch (error) {
    console.warn("NoiseSearch: the browser keeps no more states.", error);
  }
}

function fromBrowser(workflow, ids) {
  for (const [key, entry] of kept()) {
    if (ids.some((id) => key === keyOf(workflow, id)) && !known.has(key)) tell(key, { ...entry, ended: null, old: true });
  }
}

// A picture that was saved behind a search carries its best few, in the workflow's own `extra`.
function fromPicture(ids) {
  const records = rootGraph().extra?.noise_search;
  for (const id of ids) {
    const record = records?.[id];
    const key = keyOf(workflowId(), id);
    if (!known.has(key) && Array.isArray(record?.top) && record.top.length) {
      tell(key, { search: stateOf(record, id), picked: null, ended: null, old: true });
    }
  }
}

function stateOf(record, node) {
  const board = record.top.map((one, id) => ({
    id,
    seed: String(firstSeed(one.recipe) ?? ""),
    plain: isASeed(one.recipe),
    recipe: JSON.stringify(one.recipe),
    scores: Array.isArray(one.scores) ? one.scores : [],
    held_out: id === 0 ? (record.winners?.[0]?.held_out ?? null) : null,
    nfe: null,
    level: 0,
    picture: null,
  }));
  const search = {
    phase: "done", plan: "", spent: null, budget: null, left: null, rounds: 0, board, first: null, points: [],
    curve: [], chosen: 0, why: "The best few that this picture remembers.", stopped: "", forecast: null,
  };
  return {
    noise_search: 1, workflow: workflowId(), prompt: null, node, run: null, phase: "done", picked: false, awaiting: false,
    search: record.search?.name ?? "search", judges: record.verifiers ?? [], leading: 0, held_out: null,
    read: record.prompt ?? "", notes: [], searches: [search],
  };
}
