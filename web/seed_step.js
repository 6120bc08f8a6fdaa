// A random search tries the seeds from `seed` to `seed + candidates - 1`. "increment" therefore goes on behind the last of them,
// or the next search would pay for all but one of them again.
import { app } from "../../scripts/app.js";
import { widgetOf } from "./widgets.js";

const NODE = "NoiseSearchKSampler";

function withStep(node, control, hook) {
  const original = control[hook];
  if (!original) return;
  control[hook] = (...args) => {
    const seed = widgetOf(node, "seed");
    const before = seed.value;
    original.apply(control, args);
    const step = seed.value - before;
    const candidates = Math.max(1, widgetOf(node, "candidates")?.value ?? 1);
    if (Math.abs(step) !== 1 || !["increment", "decrement"].includes(control.value)) return;
    const [least, most] = [seed.options?.min ?? 0, Math.min(seed.options?.max ?? 2 ** 50, 2 ** 50)];
    seed.value = Math.min(most, Math.max(least, before + step * candidates));
    seed.callback?.(seed.value);
  };
}

app.registerExtension({
  name: "NoiseSearch.SeedStep",
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const control = widgetOf(node, "control_after_generate");
    if (!control) return;
    withStep(node, control, "beforeQueued");
    withStep(node, control, "afterQueued");
  },
});
