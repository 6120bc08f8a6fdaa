// A search is about one image: its seed stays as it is until the user changes it. ComfyUI's own default is "randomize".
import { app } from "../../scripts/app.js";

app.registerExtension({
  name: "NoiseSearch.FixedSeed",
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("NoiseSearch")) return;
    for (const widget of node.widgets ?? []) {
      if (widget.name === "control_after_generate") widget.value = "fixed"; // saved workflows then set their own
    }
  },
});
