// Recipes, as far as the panel looks into them (docs/recipes.md).

// Whether a stock sampler with its seed gives what a recipe makes: a seed is all that it says. `Recipe.is_a_seed` of the server.
export function isASeed(recipe) {
  const pieces = recipe?.pieces;
  return Array.isArray(pieces) && pieces.length === 1 && has(pieces[0], "noise") && has(pieces[0].noise, "seed");
}

// The seed that it begins with, of a mix the first one.
export function firstSeed(recipe) {
  const noise = recipe?.pieces?.[0]?.noise;
  return noise?.seed ?? noise?.seeds?.[0] ?? null;
}

function has(table, onlyKey) {
  return Object.keys(table ?? {}).join() === onlyKey;
}
