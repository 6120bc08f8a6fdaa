// In the menu of samplers: "Search with this sampler", and on search nodes "Plain sampler with the winner's seed". The same as commands,
// with a button above the selected node: with Nodes 2.0, front ends before 1.33 show a menu that asks no extension.
import { app } from "../../scripts/app.js";
import { missing } from "./judges.js";
import { isPlain, isSearch, nodesOf, standIn, toPlain, toSearch, whyNoSeed, whyNot } from "./menu/swap.js";
import { winnerOf } from "./panel/actions.js";
import { asOneStep, searchingNodes } from "./panel/nodes.js";
import * as store from "./panel/store.js";

const commands = [
  {
    id: "NoiseSearch.SearchWithThisSampler",
    label: "Search with this sampler",
    icon: "pi pi-th-large",
    function: () => press(THERE),
  },
  {
    id: "NoiseSearch.PlainSampler",
    label: "Plain sampler with the winner's seed",
    icon: "pi pi-image",
    function: () => press(BACK),
  },
];
const [THERE, BACK] = commands.map((command) => command.label);

const BLIND = ["aesthetic (LAION v2)", "image quality (BRISQUE)"]; // judges that see no prompt

const make = (type) => window.LiteGraph.createNode(type);

function entry(content, why, change) {
  if (why) return { content: `${content}: no, ${why}`, disabled: true };
  return { content, callback: change };
}

function swap(node, change) {
  try {
    const before = [...nodesOf(node.graph)];
    const made = asOneStep(node, change);
    remember();
    app.canvas?.selectNode?.(made);
    app.canvas?.setDirty?.(true, true);
    if (isSearch(made) && made.inputs.find((input) => input.name === "vae")?.link == null) {
      tell("warn", "No VAE was found behind the sampler: connect one to vae.");
    }
    const judges = isSearch(made) && standIn(made, before, missing);
    if (judges) tell("info", aboutJudges(...judges), 15000);
  } catch (error) {
    tell("error", error.message);
  }
}

// Undo knows a change once the page takes note of it, which it does after the next click or key: too late for that of Ctrl+Z.
function remember() {
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
  (tracker?.captureCanvasState ?? tracker?.checkState)?.call(tracker);
}

function aboutJudges(ready, usual) {
  if (ready === usual) return `${usual} needs ${missing[usual]}: the help of Load Judge says where to get it.`;
  const blind = BLIND.includes(ready) ? " It looks at the picture only, not at the prompt." : "";
  return `The judge is ${ready}.${blind} ${usual} needs ${missing[usual]}: the help of Load Judge says where to get it.`;
}

function tell(severity, detail, life = 6000) {
  app.extensionManager?.toast?.add({ severity, summary: "NoiseSearch", detail, life });
}

// What the node made last, as its panel knows it: what was picked, or the winner.
function winner(node) {
  const id = searchingNodes().find(([, one]) => one === node)?.[0];
  const entry = id === undefined ? null : store.entryOf(id);
  const search = (entry?.picked ?? entry?.search)?.searches?.[0];
  return search ? winnerOf(search) : undefined;
}

function items(node) {
  if (isPlain(node)) return [entry(THERE, whyNot(node), () => swap(node, () => toSearch(node, make, missing)))];
  if (!isSearch(node)) return [];
  const won = winner(node);
  return [entry(BACK, whyNoSeed(won), () => swap(node, () => toPlain(node, won?.seed ?? null, make)))];
}

// What the menu's entry does, for the one node that is selected.
function press(label) {
  const nodes = Object.values(app.canvas?.selected_nodes ?? {});
  const item = nodes.length === 1 && items(nodes[0]).find((one) => one.content.startsWith(label));
  if (!item) tell("warn", `${label}: select one ${label === THERE ? "sampler" : "search node"} first.`);
  else if (item.disabled) tell("warn", item.content);
  else item.callback();
}

const commandsOf = (node) => commands.filter((_, back) => (back ? isSearch(node) : isPlain(node))).map((one) => one.id);

// Front ends before 1.32 do not ask extensions for their items: there the node's own menu is extended.
const asks = () => typeof app.collectNodeMenuItems === "function";

app.registerExtension({
  name: "NoiseSearch.Menu",
  commands,
  getNodeMenuItems: items,
  getSelectionToolboxCommands: commandsOf,
  beforeRegisterNodeDef(nodeType) {
    if (asks()) return;
    const own = nodeType.prototype.getExtraMenuOptions;
    nodeType.prototype.getExtraMenuOptions = function (canvas, options) {
      const told = own?.apply(this, arguments);
      options?.unshift?.(...items(this));
      return told;
    };
  },
});
