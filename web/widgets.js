// Widgets and inputs of a node, by their names. Knows nodes as LiteGraph has them, and nothing of the page.

export function widgetOf(node, name) {
  return node.widgets?.find((widget) => widget.name === name);
}

export function nameOf(input) {
  return input.widget?.name ?? input.name;
}

export function isLinked(node, name) {
  return node.inputs?.some((input) => nameOf(input) === name && input.link != null) ?? false;
}
