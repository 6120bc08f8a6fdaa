// Load Judge says behind each judge which file it lacks. Combine Judges shows the weights of the judges that are connected.
import { app } from "../../scripts/app.js";
import { widgetOf } from "./widgets.js";

const LOAD = "NoiseSearchLoadVerifier";
const COMBINE = "NoiseSearchVerifierEnsemble";
// {judge: the file it lacks}, as ComfyUI last told.
export let missing = {};

function read(definition) {
  missing = definition?.input?.required?.scorer?.[1]?.noise_search_missing ?? {};
}

function label(scorer) {
  return missing[scorer] ? `${scorer} (needs ${missing[scorer]})` : (scorer ?? "");
}

function showWeights(node) {
  const linked = new Set((node.inputs ?? []).filter((slot) => slot.link != null).map((slot) => slot.name));
  for (const widget of node.widgets ?? []) {
    const number = /^weight_(\d+)$/.exec(widget.name)?.[1];
    if (!number) continue;
    widget.hidden = !linked.has(`verifier_${number}`) && !linked.has(widget.name);
    widget.options = { ...widget.options, hidden: widget.hidden }; // what Nodes 2.0 reads
  }
  node.setSize([node.size[0], node.computeSize()[1]]);
  node.setDirtyCanvas?.(true, true);
}

app.registerExtension({
  name: "NoiseSearch.Judges",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name === LOAD) read(nodeData);
    if (nodeData.name !== COMBINE) return;
    const changed = nodeType.prototype.onConnectionsChange;
    nodeType.prototype.onConnectionsChange = function (...args) {
      changed?.apply(this, args);
      showWeights(this);
    };
  },
  refreshComboInNodes(definitions) {
    read(definitions?.[LOAD]);
  },
  nodeCreated(node) {
    if (node.comfyClass === COMBINE) showWeights(node);
    if (node.comfyClass !== LOAD) return;
    const scorer = widgetOf(node, "scorer");
    if (scorer) scorer.options.getOptionLabel = label;
  },
  loadedGraphNode(node) {
    if (node.comfyClass === COMBINE) showWeights(node);
  },
});
