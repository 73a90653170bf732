// Compiles a stage in JavaScript: node componentize.mjs SOURCE WIT WORLD OUTPUT, paths absolute.
// No stage of ours uses what is disabled, and what is enabled would be imported.
import { writeFileSync } from "node:fs";
import { componentize } from "@bytecodealliance/componentize-js";

const [sourcePath, witPath, worldName, output] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath,
  witPath,
  worldName,
  disableFeatures: ["stdio", "random", "clocks", "http", "fetch-event"],
});
writeFileSync(output, component);
