import { readdirSync } from "node:fs";
import { defineConfig } from "vite";

export default defineConfig({
  base: "/static/",
  publicDir: false,
  build: {
    outDir: "../static",
    emptyOutDir: true,
    assetsDir: "",
    manifest: true,
    // The licences of what is bundled travel with it.
    license: true,
    // The policy of the pages lets nothing in that is inline, not even a small picture.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // The first with light-dark(), popover and nesting: nothing is written down to older ones.
    target: ["chrome123", "firefox128", "safari17.5"],
    rolldownOptions: {
      // htmx holds an eval, which src/main.ts turns off and the policy of the pages would refuse.
      checks: { eval: false },
      // Each file of src/ is what some page asks for; what they share lies in folders beneath.
      input: readdirSync(new URL("src", import.meta.url))
        .filter((name) => name.endsWith(".ts"))
        .map((name) => `src/${name}`),
    },
  },
});
