// The search journal: a switch among ComfyUI's settings, and a command that clears it. The server reads the setting by itself.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const CLEAR = "NoiseSearch.ClearJournal";

async function clear() {
  const reply = await api.fetchApi("/noise_search/clear_journal", { method: "POST" });
  const said = reply.ok ? await reply.json() : { error: `HTTP ${reply.status}` };
  app.extensionManager?.toast?.add({
    severity: said.error ? "error" : "success",
    summary: "NoiseSearch",
    detail: said.error ?? said.said,
    life: 6000,
  });
}

app.registerExtension({
  name: "NoiseSearch.Journal",
  settings: [
    {
      id: "NoiseSearch.Journal.Enabled",
      category: ["NoiseSearch", "Search journal", "Enabled"],
      name: "Keep a journal of searches, so that nothing is paid twice",
      type: "boolean",
      defaultValue: true,
      tooltip: "A search that was stopped, cancelled or killed goes on where it was. The file is user/__noise_search/journal.sqlite3.",
    },
  ],
  commands: [{ id: CLEAR, label: "Clear search journal", icon: "pi pi-trash", function: clear }],
  menuCommands: [{ path: ["Extensions", "NoiseSearch"], commands: [CLEAR] }],
});
