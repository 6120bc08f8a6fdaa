// What the menu does to graphs, on a small stand-in for LiteGraph. Prints what each story came to as JSON; tests/test_menu.py reads it.
import { isPlain, isSearch, standIn, toPlain, toSearch, vaeFor, whyNoSeed, whyNot } from "./extensions/noise-search/menu/swap.js";

const WIDGETS = {
  KSampler: { seed: 0, control_after_generate: "randomize", steps: 20, cfg: 8, sampler_name: "euler", scheduler: "simple", denoise: 1 },
  KSamplerAdvanced: { add_noise: "enable", noise_seed: 0, control_after_generate: "randomize", steps: 20, cfg: 8, sampler_name: "euler",
    scheduler: "simple", start_at_step: 0, end_at_step: 10000, return_with_leftover_noise: "disable" },
  SamplerCustom: { add_noise: true, noise_seed: 0, control_after_generate: "randomize", cfg: 8 },
  RandomNoise: { noise_seed: 0, control_after_generate: "randomize" },
  CFGGuider: { cfg: 8 },
  NoiseSearchLoadVerifier: { scorer: "ImageReward" },
};
WIDGETS.NoiseSearchKSampler = { ...WIDGETS.KSampler, control_after_generate: "fixed", candidates: 8, keep_top: 4, prompt: "" };
WIDGETS.NoiseSearchSampler = { candidates: 8, keep_top: 4 };
const SOCKETS = {
  KSampler: [["model", "positive", "negative", "latent_image"], ["LATENT"]],
  KSamplerAdvanced: [["model", "positive", "negative", "latent_image"], ["LATENT"]],
  SamplerCustom: [["model", "positive", "negative", "sampler", "sigmas", "latent_image"], ["LATENT", "LATENT"]],
  SamplerCustomAdvanced: [["noise", "guider", "sampler", "sigmas", "latent_image"], ["LATENT", "LATENT"]],
  NoiseSearchKSampler: [["model", "positive", "negative", "latent_image", "vae", "verifier", "search"], ["LATENT", "IMAGE", "IMAGE", "LATENT", "INT"]],
  NoiseSearchSampler: [["noise", "guider", "sampler", "sigmas", "latent_image", "vae", "verifier"], ["LATENT", "LATENT", "IMAGE", "IMAGE"]],
  RandomNoise: [[], ["NOISE"]],
  DisableNoise: [[], ["NOISE"]],
  CFGGuider: [["model", "positive", "negative"], ["GUIDER"]],
  NoiseSearchLoadVerifier: [[], ["NOISE_SEARCH_VERIFIER"]],
  VAEDecode: [["samples", "vae"], ["IMAGE"]],
  SaveImage: [["images"], []],
  Reroute: [[""], ["*"]],
  Checkpoint: [[], ["MODEL", "CLIP", "VAE"]],
  Loader: [[], ["MODEL"]],
  Text: [[], ["CONDITIONING"]],
  Int: [[], ["INT"]],
  Other: [[], ["*"]],
};

class Graph {
  nodes = [];
  links = new Map();
  last = { node: 0, link: 0 };
  add(node) {
    node.id = ++this.last.node;
    node.graph = this;
    this.nodes.push(node);
    return node;
  }
  remove(node) {
    for (const [id, link] of [...this.links]) if ([link.origin_id, link.target_id].includes(node.id)) this.cut(id);
    this.nodes = this.nodes.filter((one) => one !== node);
  }
  cut(id) {
    const link = this.links.get(id);
    this.links.delete(id);
    const [from, to] = [this.getNodeById(link.origin_id), this.getNodeById(link.target_id)];
    if (from) from.outputs[link.origin_slot].links = from.outputs[link.origin_slot].links.filter((one) => one !== id);
    if (to) to.inputs[link.target_slot].link = null;
    if (!to) this.outputs[link.target_slot].link = null;
  }
  getNodeById(id) {
    return this.nodes.find((node) => node.id === id) ?? null;
  }
  link(origin_id, origin_slot, target_id, target_slot) {
    const id = ++this.last.link;
    this.links.set(id, { id, origin_id, origin_slot, target_id, target_slot });
    return id;
  }
}

class Node {
  static title = "plain title";
  constructor(type) {
    const [inputs, outputs] = SOCKETS[type];
    this.type = this.comfyClass = type;
    this.title = "plain title";
    this.widgets = Object.entries(WIDGETS[type] ?? {}).map(([name, value]) => ({ name, value,
      options: name === "scorer" ? { values: ["ImageReward", "Other"] } : {} }));
    this.inputs = [...inputs.map((name) => ({ name, link: null })), ...this.widgets.map(({ name }) => ({ name, widget: { name }, link: null }))];
    this.outputs = outputs.map((kind) => ({ name: kind, type: kind, links: [] }));
    this.pos = [0, 0];
    this.size = [200, 100];
    this.mode = 0;
  }
  connect(slot, target, place) {
    if (target.inputs[place].link != null) this.graph.cut(target.inputs[place].link);
    const id = this.graph.link(this.id, slot, target.id, place);
    this.outputs[slot].links.push(id);
    target.inputs[place].link = id;
  }
}

const make = (type) => (type in SOCKETS ? new Node(type) : null);

function build(type, changes = {}, { vae = "decode", subgraph = false } = {}) {
  const graph = new Graph();
  const put = (kind) => graph.add(make(kind));
  const wire = (from, slot, to, name) => from.connect(slot, to, to.inputs.findIndex((one) => one.name === name));
  const [loader, text, node] = [put(vae === "loader" ? "Checkpoint" : "Loader"), put("Text"), put(type)];
  for (const { name } of node.inputs.filter((one) => !one.widget)) {
    if (name === "model") wire(loader, 0, node, name);
    else if (name === "noise") wire(put(changes.noise ?? "RandomNoise"), 0, node, name);
    else if (name !== "verifier" && name !== "search" && name !== "vae") wire(name === "positive" ? text : put("Other"), 0, node, name);
  }
  for (const [name, value] of Object.entries(changes)) {
    const widget = node.widgets.find((one) => one.name === name);
    if (widget) widget.value = value;
  }
  const vaes = put("Other");
  if (vae === "decode" || vae === "reroute") {
    const decode = put("VAEDecode");
    if (vae === "reroute") {
      const reroute = put("Reroute");
      node.connect(0, reroute, 0);
      reroute.connect(0, decode, 0);
    } else wire(node, 0, decode, "samples");
    wire(vaes, 0, decode, "vae");
    wire(decode, 0, put("SaveImage"), "images");
  }
  if (subgraph) {
    graph.inputs = [{ connect: (input, to) => (input.link = graph.link(-10, 0, to.id, to.inputs.indexOf(input))) }];
    graph.outputs = [{ connect: (output, from) => output.links.push((graph.outputs[0].link = graph.link(from.id, from.outputs.indexOf(output), -20, 0))) }];
    const model = node.inputs.find((one) => one.name === "model");
    graph.cut(model.link);
    graph.inputs[0].connect(model, node);
    graph.outputs[0].connect(node.outputs[0], node);
  }
  return { graph, node, vaes, wire, put };
}

// {input: type of the node that it comes from} of a node, with the slot where it is not 0
function wiring(node) {
  const { graph } = node;
  return Object.fromEntries(
    node.inputs.filter((one) => one.link != null).map((one) => {
      const link = graph.links.get(one.link);
      const from = graph.getNodeById(link.origin_id);
      return [one.name, `${from ? from.type : link.origin_id}${link.origin_slot ? `:${link.origin_slot}` : ""}`];
    }),
  );
}

const values = (node) => Object.fromEntries(node.widgets.map(({ name, value }) => [name, value]));
const types = (graph) => graph.nodes.map((one) => one.type).sort();

function story(type, changes, options) {
  const { graph, node } = build(type, changes, options);
  Object.assign(node, { title: "My sampler", color: "#123", bgcolor: "#456", mode: 4, pos: [30, 40] });
  const made = toSearch(node, make);
  const behind = made.outputs[0].links.map((id) => graph.links.get(id)).map((link) => graph.getNodeById(link.target_id)?.type ?? link.target_id);
  const look = { title: made.title, color: made.color, bgcolor: made.bgcolor, mode: made.mode, pos: made.pos };
  const sources = made.inputs.filter((one) => ["noise", "guider"].includes(one.name) && one.link != null)
    .map((one) => graph.getNodeById(graph.links.get(one.link).origin_id))
    .map((one) => ({ type: one.type, values: values(one), wiring: wiring(one) }));
  return { type: made.type, wiring: wiring(made), values: values(made), look, behind, types: types(graph), sources };
}

function back(type, seed, { images = false, extra = false } = {}) {
  const { graph, node, vaes, wire, put } = build(type, { seed: 5, steps: 9 }, { vae: images ? "none" : "decode" });
  const judge = put("NoiseSearchLoadVerifier");
  wire(judge, 0, node, "verifier");
  wire(vaes, 0, node, "vae");
  if (extra) wire(judge, 0, put("NoiseSearchKSampler"), "verifier");
  if (images) node.connect(type === "NoiseSearchKSampler" ? 1 : 2, put("SaveImage"), 0);
  Object.assign(node, { title: "My search", color: "#abc" });
  const plain = toPlain(node, seed, make);
  const noise = graph.nodes.find((one) => one.type === "RandomNoise");
  const save = graph.nodes.find((one) => one.type === "SaveImage");
  return { type: plain.type, wiring: wiring(plain), values: values(plain), title: plain.title, color: plain.color, types: types(graph),
    noise: noise && values(noise), save: wiring(save) };
}

function refused(type, changes, link) {
  const { node, put } = build(type, changes);
  if (link) put("Int").connect(0, node, node.inputs.findIndex((one) => one.name === link));
  const why = whyNot(node);
  let thrown = "";
  try {
    toSearch(node, make);
  } catch (error) {
    thrown = error.message;
  }
  return [why, thrown];
}

function roundTrip() {
  const { graph, node } = build("KSampler", { seed: 42, steps: 7, sampler_name: "heun" });
  const before = [types(graph), values(node), wiring(node)];
  const plain = toPlain(toSearch(node, make), null, make);
  return [before, [types(graph), values(plain), wiring(plain)]];
}

// The judge of a search where the usual one, or both, lack their files; and what is told of it.
function judges(missing, there = false) {
  const { graph, node, put } = build("KSampler");
  const judged = there ? put("NoiseSearchLoadVerifier") : null;
  const before = [...graph.nodes];
  const made = toSearch(node, make, missing);
  const judge = judged ?? graph.nodes.find((one) => one.type === "NoiseSearchLoadVerifier");
  return [values(judge).scorer, standIn(made, before, missing)];
}

function linkedSeed() {
  const { node, put } = build("KSamplerAdvanced");
  put("Int").connect(0, node, node.inputs.findIndex((one) => one.name === "noise_seed"));
  return wiring(toSearch(node, make));
}

console.log(JSON.stringify({
  judges: [judges({}), judges({ ImageReward: "a file" }), judges({ ImageReward: "a file" }, true), judges({ ImageReward: "a file", Other: "one" })],
  ksampler: story("KSampler", { seed: 42, steps: 7, cfg: 3, sampler_name: "heun", scheduler: "karras", denoise: 0.6 }),
  advanced: story("KSamplerAdvanced", { noise_seed: 43, steps: 7, end_at_step: 7 }),
  custom: story("SamplerCustom", { noise_seed: 44, cfg: 2.5 }),
  customAdvanced: story("SamplerCustomAdvanced", {}),
  reroute: story("KSampler", {}, { vae: "reroute" }),
  loader: story("KSampler", {}, { vae: "loader" }),
  noVae: story("KSampler", {}, { vae: "none" }),
  subgraph: story("KSampler", {}, { subgraph: true }),
  linkedSeed: linkedSeed(),
  back: back("NoiseSearchKSampler", "9007199254740991"),
  backImages: back("NoiseSearchKSampler", "12", { images: true }),
  backShared: back("NoiseSearchKSampler", null, { extra: true }),
  backSampler: back("NoiseSearchSampler", "12"),
  roundTrip: roundTrip(),
  refused: {
    noise: refused("KSamplerAdvanced", { add_noise: "disable" }),
    late: refused("KSamplerAdvanced", { start_at_step: 3 }),
    early: refused("KSamplerAdvanced", { end_at_step: 12 }),
    leftover: refused("KSamplerAdvanced", { return_with_leftover_noise: "enable" }),
    linked: refused("KSamplerAdvanced", {}, "start_at_step"),
    custom: refused("SamplerCustom", { add_noise: false }),
    disabled: refused("SamplerCustomAdvanced", { noise: "DisableNoise" }),
    other: refused("CFGGuider", {}),
  },
  seeds: [whyNoSeed(undefined), whyNoSeed({ plain: true }), whyNoSeed({ plain: false })],
  kinds: ["KSampler", "NoiseSearchSampler", "SaveImage"].map((type) => [isPlain(make(type)), isSearch(make(type))]),
}));
