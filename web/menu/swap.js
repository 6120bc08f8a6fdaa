// A plain sampler becomes a search node in its place, and back. Knows graphs as LiteGraph has them, and nothing of the page: `make`
// creates a node of a type. Every function that changes a graph returns the new node.
import { isLinked, nameOf, widgetOf } from "../widgets.js";

const KSAMPLER = "NoiseSearchKSampler";
const SAMPLER = "NoiseSearchSampler";
const JUDGE = "NoiseSearchLoadVerifier";
const LINK = 80; // pixels between nodes that are added
const THROUGH = ["Reroute", "PrimitiveNode"];
const FARTHEST = 50; // reroutes between a sampler and its decode

// {type: [what it becomes, {its input or widget: what that is called there}]}
const SEARCHING = {
  KSampler: [KSAMPLER, {}],
  KSamplerAdvanced: [KSAMPLER, { noise_seed: "seed" }],
  SamplerCustom: [SAMPLER, {}],
  SamplerCustomAdvanced: [SAMPLER, {}],
};

export function isPlain(node) {
  return typeOf(node) in SEARCHING;
}

export function isSearch(node) {
  return [KSAMPLER, SAMPLER].includes(typeOf(node));
}

// Why this sampler cannot search; "" when it can.
export function whyNot(node) {
  const type = typeOf(node);
  if (!isPlain(node)) return `${type} is no sampler that can search`;
  if (type === "KSamplerAdvanced") {
    const set = ["add_noise", "start_at_step", "end_at_step", "return_with_leftover_noise"];
    const linked = set.find((name) => isLinked(node, name));
    if (linked) return `${linked} comes from another node`;
    if (value(node, "add_noise") !== "enable") return "it adds no noise, so there is nothing to search";
    if (value(node, "start_at_step") > 0) return "it starts after the first step: a search samples whole images";
    if (isLinked(node, "steps") && value(node, "end_at_step") < 10000) return "steps comes from another node";
    if (value(node, "end_at_step") < value(node, "steps")) return "it ends before the last step: a search samples whole images";
    if (value(node, "return_with_leftover_noise") !== "disable") return "it leaves noise in, which no judge can look through";
  }
  if (type === "SamplerCustom") {
    if (isLinked(node, "add_noise")) return "add_noise comes from another node";
    if (!value(node, "add_noise")) return "it adds no noise, so there is nothing to search";
  }
  if (type === "SamplerCustomAdvanced") {
    const noise = sourceOf(node, "noise")?.node;
    if (typeOf(noise) === "DisableNoise") return "its noise is disabled, so there is nothing to search";
  }
  return "";
}

// -- there -------------------------------------------------------------------------------------------------------------------

// missing: {judge: the file it lacks}. A loader that is added begins with the first judge that lacks none.
export function toSearch(node, make, missing = {}) {
  const why = whyNot(node);
  if (why) throw new Error(why);
  const [type, names] = SEARCHING[typeOf(node)];
  const graph = node.graph;
  const search = create(type, make);
  const vae = vaeFor(node);
  const wires = wiresOf(node);
  graph.add(search);
  dress(search, node);
  copyValues(search, node, names);
  for (const wire of wires.into) connect(wire.from, search, names[wire.name] ?? wire.name);
  if (typeOf(node) === "SamplerCustom") {
    const [noise, guider] = [create("RandomNoise", make), create("CFGGuider", make)];
    [noise, guider].forEach((one, place) => {
      graph.add(one);
      one.pos = [node.pos[0] - (one.size?.[0] ?? 210) - LINK, node.pos[1] + place * 140];
      copyValues(one, node, {});
    });
    for (const wire of wires.into) {
      connect(wire.from, noise, wire.name);
      connect(wire.from, guider, wire.name);
    }
    connect({ node: noise, slot: 0 }, search, "noise");
    connect({ node: guider, slot: 0 }, search, "guider");
  }
  if (vae) connect(vae, search, "vae");
  connect({ node: judgeIn(graph, search, make, missing), slot: 0 }, search, "verifier");
  for (const wire of wires.out) lead(search, wire.slot, wire.to);
  graph.remove(node);
  return search;
}

// The judge that is in the graph, where there is one; else a new loader.
function judgeIn(graph, search, make, missing) {
  const there = nodesOf(graph).filter((node) => typeOf(node) === JUDGE);
  if (there.length === 1) return there[0];
  const judge = create(JUDGE, make);
  graph.add(judge);
  const scorer = widgetOf(judge, "scorer");
  const ready = scorer?.options?.values?.find((name) => !missing[name]);
  if (ready) scorer.value = ready;
  const width = judge.size?.[0] ?? 270;
  judge.pos = [search.pos[0] - width - LINK, search.pos[1] + 320];
  return judge;
}

// The judge of a search that its menu has just added, where it is not the usual one because that lacks its file: [it, the usual one].
export function standIn(search, before, missing) {
  const judge = sourceOf(search, "verifier")?.node;
  const scorer = typeOf(judge) === JUDGE && !before.includes(judge) && widgetOf(judge, "scorer");
  const usual = scorer && scorer.options?.values?.[0];
  return missing[usual] ? [scorer.value, usual] : null;
}

// The VAE of the decode behind a sampler; else one of the loader that its model comes from. null where there is neither.
export function vaeFor(node) {
  const waiting = (node.outputs ?? []).flatMap((output) => targetsOf(node.graph, output));
  for (let seen = 0; waiting.length && seen < FARTHEST; seen++) {
    const { node: behind } = waiting.shift();
    if (!behind) continue;
    const vae = sourceOf(behind, "vae");
    if (vae && behind.inputs.some((input) => input.name === "samples")) return vae;
    if (THROUGH.includes(typeOf(behind))) {
      waiting.push(...behind.outputs.flatMap((output) => targetsOf(node.graph, output)));
    }
  }
  const loader = sourceOf(node, "model")?.node;
  const slot = loader?.outputs?.findIndex((output) => output.type === "VAE") ?? -1;
  return slot < 0 ? null : { node: loader, slot };
}

// -- and back ----------------------------------------------------------------------------------------------------------------

// seed: of the winner, as text or number; null leaves the seed that is there.
export function toPlain(node, seed, make) {
  const graph = node.graph;
  const plain = create(typeOf(node) === KSAMPLER ? "KSampler" : "SamplerCustomAdvanced", make);
  const wires = wiresOf(node);
  graph.add(plain);
  dress(plain, node);
  copyValues(plain, node, {});
  const seeded = typeOf(node) === KSAMPLER ? plain : sourceOf(node, "noise")?.node;
  for (const wire of wires.into) {
    if (seed != null && wire.name === "seed") continue; // the wire would bring the first candidate's
    connect(wire.from, plain, wire.name);
  }
  if (seed != null && seeded) setSeed(seeded, seed);
  const latents = typeOf(node) === KSAMPLER ? 1 : 2;
  for (const wire of wires.out) if (wire.slot < latents) lead(plain, wire.slot, wire.to);
  const images = wires.out.filter((wire) => wire.slot === latents);
  const vae = wires.into.find((wire) => wire.name === "vae");
  if (images.length && vae) {
    const decode = create("VAEDecode", make);
    graph.add(decode);
    decode.pos = [plain.pos[0] + (plain.size?.[0] ?? 270) + LINK / 2, plain.pos[1]];
    connect({ node: plain, slot: 0 }, decode, "samples");
    connect(vae.from, decode, "vae");
    for (const wire of images) lead(decode, 0, wire.to);
  }
  const judge = wires.into.find((wire) => wire.name === "verifier")?.from.node;
  graph.remove(node);
  const alone = judge && typeOf(judge) === JUDGE && judge.outputs.every((output) => !output.links?.length);
  if (alone) graph.remove(judge);
  return plain;
}

// Why the winner cannot be had with a seed alone; "" where it can. winner: as the panel is told of it; undefined before any run.
export function whyNoSeed(winner) {
  if (!winner || winner.plain) return "";
  return "the winner has no seed of its own: its recipe makes it, in Remake Winner";
}

function setSeed(node, seed) {
  for (const [name, set] of [["seed", Number(seed)], ["noise_seed", Number(seed)], ["control_after_generate", "fixed"]]) {
    const widget = widgetOf(node, name);
    if (widget) widget.value = set;
  }
}

// -- nodes -------------------------------------------------------------------------------------------------------------------

function typeOf(node) {
  return node?.comfyClass ?? node?.type;
}

function create(type, make) {
  const node = make(type);
  if (!node) throw new Error(`this ComfyUI has no node ${type}`);
  return node;
}

export function nodesOf(graph) {
  return graph.nodes ?? graph._nodes ?? [];
}

// Its place, title, colour, mode.
function dress(node, old) {
  node.pos = [...old.pos];
  const own = old.constructor?.title ?? old.constructor?.nodeData?.display_name;
  if (old.title && own && old.title !== own) node.title = old.title;
  for (const name of ["color", "bgcolor", "mode", "shape"]) if (old[name] !== undefined) node[name] = old[name];
  if (old.flags?.collapsed) node.flags = { ...node.flags, collapsed: true };
}

function value(node, name) {
  return widgetOf(node, name)?.value;
}

function copyValues(node, old, names) {
  for (const widget of old.widgets ?? []) {
    const there = widgetOf(node, names[widget.name] ?? widget.name);
    if (there && widget.value !== undefined) there.value = widget.value;
  }
}

// -- wires -------------------------------------------------------------------------------------------------------------------

function linkOf(graph, id) {
  return graph.getLink?.(id) ?? graph.links?.get?.(id) ?? graph.links?.[id] ?? graph._links?.get?.(id);
}

// Where a wire comes from: a node's output, or an input of the subgraph that the node is in.
function originOf(graph, id) {
  const link = linkOf(graph, id);
  if (!link) return null;
  const node = graph.getNodeById(link.origin_id);
  return node ? { node, slot: link.origin_slot } : { edge: graph.inputs?.[link.origin_slot] };
}

function sourceOf(node, name) {
  const input = node.inputs?.find((one) => nameOf(one) === name);
  return input?.link == null ? null : originOf(node.graph, input.link);
}

// Where the wires of an output lead: inputs of nodes, or outputs of the subgraph.
function targetsOf(graph, output) {
  return (output.links ?? [])
    .map((id) => linkOf(graph, id))
    .filter(Boolean)
    .map((link) => {
      const node = graph.getNodeById(link.target_id);
      return node ? { node, slot: link.target_slot } : { edge: graph.outputs?.[link.target_slot] };
    });
}

function wiresOf(node) {
  const graph = node.graph;
  const into = (node.inputs ?? [])
    .filter((input) => input.link != null)
    .map((input) => ({ name: nameOf(input), from: originOf(graph, input.link) }))
    .filter((wire) => wire.from);
  const out = (node.outputs ?? []).flatMap((output, slot) => targetsOf(graph, output).map((to) => ({ slot, to })));
  return { into, out };
}

// LiteGraph's method by its name: registries search packs for calls of this name and take them for network calls.
const WIRE = "connect";

function connect(from, node, name) {
  const slot = node.inputs?.findIndex((input) => nameOf(input) === name) ?? -1;
  if (slot < 0) return;
  if (from.node) from.node[WIRE](from.slot, node, slot);
  else from.edge?.[WIRE](node.inputs[slot], node);
}

function lead(node, slot, to) {
  if (to.node) node[WIRE](slot, to.node, to.slot);
  else to.edge?.[WIRE](node.outputs[slot], node);
}
