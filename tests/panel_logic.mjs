// What the panel knows and draws, without a page: a stand-in for the elements that it uses, and for ComfyUI's app and api. Prints what each
// story came to as JSON; tests/test_panel_logic.py reads it.

class Element {
  constructor(tag) {
    this.tag = tag;
    this.attributes = {};
    this.children = [];
    this.listeners = {};
    this.textContent = "";
    const classes = new Set();
    this.classList = { toggle: (name, on) => (on ? classes.add(name) : classes.delete(name)) };
    this.content = { firstChild: { namespaceURI: "svg" } };
  }
  addEventListener(name, listener) {
    this.listeners[name] = listener;
  }
  append(...children) {
    this.children.push(...children);
  }
  setAttribute(name, value) {
    this.attributes[name] = value;
  }
  getAttribute(name) {
    return this.attributes[name] ?? null;
  }
  removeAttribute(name) {
    delete this.attributes[name];
  }
  set src(url) {
    this.attributes.src = url;
  }
  insertBefore(child, before) {
    this.children.splice(before ? this.children.indexOf(before) : this.children.length, 0, child);
  }
  contains() {
    return false;
  }
  remove() {}
}

globalThis.document = { createElement: (tag) => new Element(tag), createElementNS: (_, tag) => new Element(tag) };
const storage = {};
globalThis.localStorage = { getItem: (name) => storage[name] ?? null, setItem: (name, value) => (storage[name] = value) };

const node = { id: 10, type: "NoiseSearchKSampler" };
const graph = { id: "w", nodes: [node], extra: {} };
let history = {};
let broken = false;
const asked = [];
globalThis.app = { graph, rootGraph: graph };
globalThis.api = {
  apiURL: (path) => path,
  fetchApi: async (path) => {
    asked.push(path);
    return { ok: !broken, status: 500, json: async () => history };
  },
};

const { Board } = await import("./extensions/noise-search/panel/board.js");
const actions = await import("./extensions/noise-search/panel/actions.js");
let stores = 0;
const fresh = () => import(`./extensions/noise-search/panel/store.js?${stores++}`); // as after a reload

const candidate = (id, more = {}) => ({
  id, seed: String(id), plain: true, recipe: `{"pieces":[{"noise":{"seed":${id}}}]}`, scores: [0.5], held_out: null, nfe: 1, level: 0, picture: null, ...more,
});
const search = (ids, more = {}) => ({ phase: "done", board: ids.map((id) => candidate(id)), chosen: ids[0], points: [], ...more });
const state = (prompt, more = {}) => ({
  noise_search: 1, workflow: "w", node: "10", prompt, phase: "done", picked: false, judges: ["j"], leading: 0, held_out: null,
  searches: [search([1, 2])], ...more,
});
const output = (made) => ({ 10: { noise_search_state: [made] } });
const inHistory = (...made) => Object.fromEntries(made.map((one, i) => [one.prompt, { prompt: [i], outputs: output(one) }]));
// What the panel shows: [prompt of the search, its phase, prompt of the pick]
const seen = (store) => {
  const entry = store.entryOf("10");
  return entry && [entry.search?.prompt ?? null, entry.search?.phase ?? null, entry.picked?.prompt ?? null];
};
const told = {};

// -- the history is read once
{
  const store = await fresh();
  graph.nodes = [node, { id: 20, type: "NoiseSearchSampler" }]; // has never run
  await store.restore();
  const counts = [asked.length];
  for (const prompt of ["a", "b", "c"]) {
    store.rememberOutputs(output(state(prompt)));
    await store.succeeded(prompt);
    counts.push(asked.length);
  }
  await store.restore(); // back from another tab
  counts.push(asked.length);
  graph.id = "other";
  await store.restore();
  counts.push(asked.length);
  graph.id = "w";
  graph.nodes = [node];
  told.reads = counts;
}
{
  const store = await fresh();
  const before = asked.length;
  broken = true;
  const failed = await store.restore().catch((error) => error.message);
  broken = false;
  history = inHistory(state("a"));
  storage["NoiseSearch.Panel.States"] = "[]";
  await store.restore();
  told.readAgain = [failed, asked.length - before, seen(store)];
}

// -- what is missed while the page is loading
{
  const store = await fresh();
  history = inHistory(state("a"));
  store.remember(state("b", { phase: "running" }));
  await store.restore();
  const during = seen(store);
  history = inHistory(state("a"), state("b"));
  await store.succeeded("b");
  told.missed = [during, seen(store)];
}
{
  const store = await fresh();
  await store.succeeded("a");
  store.remember(state("b", { phase: "running" }));
  history = inHistory(state("b"));
  await store.succeeded("b"); // its `executed` never came
  told.lost = seen(store);
}
{
  const store = await fresh();
  storage["NoiseSearch.Panel.States"] = "[]";
  store.remember(state("b", { phase: "running", picked: true }));
  history = inHistory(state("a"));
  await store.restore();
  told.pickedFrom = seen(store);
}

// -- what is old replaces nothing newer
{
  const store = await fresh();
  history = inHistory(state("a"));
  await store.restore();
  const old = seen(store);
  store.rememberOutputs(output(state("z")), true); // another run is loaded from the queue
  const other = seen(store);
  store.remember(state("b", { phase: "running" }));
  store.rememberOutputs(output(state("a")), true);
  const live = seen(store);
  store.rememberOutputs(output(state("b")), true); // the front end is told before we are
  store.rememberOutputs(output(state("b")));
  store.rememberOutputs(output(state("a")), true);
  const over = seen(store);
  store.remember(state("c", { phase: "running", picked: true }));
  store.rememberOutputs(output(state("a")), true);
  const picking = seen(store);
  store.rememberOutputs(output(state("c", { picked: true })));
  store.rememberOutputs(output(state("b")), true);
  told.old = { old, other, live, over, picking, picked: seen(store) };
  store.remember(state("d", { phase: "running" }));
  store.ended("d", "cancelled");
  store.rememberOutputs(output(state("b")), true);
  told.old.cancelled = [...seen(store), store.entryOf("10").ended];
}

// -- use
{
  const both = { searches: [search([1, 2]), search([3, 4])] };
  const waiting = { searches: [search([1, 2]), search([], { phase: "waiting" })] };
  const none = { searches: [search([1, 2]), search([])] };
  told.use = [both, waiting, none].map((one) => actions.whyNotUse(one, 0, candidate(2)));
  told.use.push(actions.whyNotUse({ searches: [search([1])] }, 0, candidate(1, { recipe: null })));
  told.pick = JSON.parse(actions.pickOf(both, 1, candidate(4))).map((recipe) => recipe.pieces[0].noise.seed);
}

// -- pictures
{
  const board = new Board({});
  const shown = [];
  for (const picture of [null, "a.jpg", "a.jpg", "b.jpg", null, "b.jpg"]) {
    board.draw([candidate(1, { picture })], state("a"), { picked: null, chosen: null, word: "" });
    const { image, empty } = board.cards.get(1);
    shown.push([image.getAttribute("src")?.match(/\w\.jpg/)[0] ?? null, !image.hidden, !empty.hidden]);
  }
  told.pictures = shown;
}

console.log(JSON.stringify(told));
