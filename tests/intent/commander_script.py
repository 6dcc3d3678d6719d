"""JavaScript that answers with the real CLI's command tree and parse, every action taken out (see node_peer)."""

# The bundle ends by starting itself; that line gives way to an export of what builds the commands.
SCRIPT = """
const fs = require("fs"), Module = require("module");
const file = process.argv[1];
const text = fs.readFileSync(file, "utf8");
const at = text.lastIndexOf("void main();");
const module_ = new Module(file);
module_.filename = file;
module_.paths = Module._nodeModulePaths(require("path").dirname(file));
module_._compile(text.slice(0, at) + "module.exports = { buildProgram };" + text.slice(at + 12), file);
const program = module_.exports.buildProgram();
let seen;
const value = (option) => (option.required ? "required" : option.optional ? "optional" : "none");
const tree = (command) => ({
  name: command.name(), aliases: command.aliases(), commands: command.commands.map(tree),
  helps: command._getHelpCommand() !== null,
  arguments: command.registeredArguments.map((a) => (a.required ? `<${a.name()}>` : `[${a.name()}]`)),
  options: command.options.map((o) => ({ flags: o.flags, value: value(o), choices: o.argChoices ?? [] })),
});
const chain = (command) => (command.parent ? [...chain(command.parent), command] : [command]);
const disarm = (command) => {
  command.exitOverride().configureOutput({ writeOut() {}, writeErr() {}, outputError() {} });
  if (command._actionHandler) command._actionHandler = () => {
    const options = {};
    for (const level of chain(command)) for (const option of level.options) {
      const name = option.attributeName();
      if (level.getOptionValueSource(name) === "cli") options[name] = String(level.getOptionValue(name));
    }
    seen = { kind: "run", path: chain(command).slice(1).map((c) => c.name()), options, operands: command.args };
  };
  command.commands.forEach(disarm);
};
const whole = tree(program);
disarm(program);
const answer = (argv) => {
  if (argv === null) return whole;
  seen = { kind: "help" };
  try { program.parse(argv, { from: "user" }); } catch (error) {
    if (error.code === "commander.version") return { kind: "version" };
    if (error.code.startsWith("commander.help")) return { kind: "help" };
    return { kind: "error", code: error.code };
  }
  return seen;
};
"""
