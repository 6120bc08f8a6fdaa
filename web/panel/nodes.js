// Our nodes in the graph: which they are, by what id the server knows them, and changes as a person makes them.
import { app } from "../../../scripts/app.js";
import { widgetOf } from "../widgets.js";

export const SEARCHING = ["NoiseSearchKSampler", "NoiseSearchSampler"];

export function rootGraph() {
  return app.rootGraph ?? app.graph;
}

export function workflowId() {
  return rootGraph()?.id ?? null;
}

export function isSearching(node) {
  return SEARCHING.includes(node?.comfyClass ?? node?.type);
}

// "12:7:5": node 5 in the subgraph of node 7, in the subgraph of node 12
export function nodeAt(executionId) {
  let graph = rootGraph();
  const ids = String(executionId).split(":");
  for (const id of ids.slice(0, -1)) graph = graph?.getNodeById(id)?.subgraph;
  return graph?.getNodeById(ids.at(-1)) ?? null;
}

// [[execution id, node], ...] of all search nodes; a subgraph that is used twice has its nodes twice
export function searchingNodes(graph = rootGraph(), above = "", depth = 0) {
  if (!graph || depth > 30) return [];
  return (graph.nodes ?? graph._nodes ?? []).flatMap((node) => {
    const id = `${above}${node.id}`;
    if (isSearching(node)) return [[id, node]];
    return node.subgraph ? searchingNodes(node.subgraph, `${id}:`, depth + 1) : [];
  });
}

export function setWidget(node, name, value) {
  const widget = widgetOf(node, name);
  if (!widget || widget.value === value) return;
  widget.value = value;
  widget.callback?.(value, app.canvas, node);
  node.setDirtyCanvas?.(true, true);
}

// What `change` does to the graph is one step to undo.
export function asOneStep(node, change) {
  const graph = node.graph;
  graph?.beforeChange?.(node);
  try {
    return change();
  } finally {
    graph?.afterChange?.(node);
  }
}

export async function queue() {
  await app.queuePrompt(0, 1);
}
