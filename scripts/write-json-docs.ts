// Writes docs/json.md from the schemas in src/documents.
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import { documents, errorDocument, progressLine } from "../src/documents/documents.ts";

/** The parts of JSON Schema that zod writes for our documents. */
interface Schema {
  type?: string | string[];
  description?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: Schema | boolean;
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  oneOf?: Schema[];
}

/** The whole guide as Markdown. */
export function renderGuide(): string {
  const sections = Object.entries(documents).map(
    ([command, schema]) => `### \`${command}\`\n\n${render(schema)}`,
  );
  return `<!-- Written by scripts/write-json-docs.ts from src/documents; do not edit. -->
# JSON

With \`--json\` a command prints exactly one JSON document on standard output: its result, or, when it failed, an error. The exit code is the same as without \`--json\`. Progress goes to standard error, one JSON object on a line, so \`rekernel ... --json | jq\` sees only the document.

Addresses and other 64-bit numbers are strings of the form \`"0xffffffff81000000"\`. Fields marked *optional* are left out where there is nothing to say. New fields may appear in later versions; fields that are here stay.

From TypeScript the same schemas are \`documents\`, \`errorDocument\` and \`progressLine\` of the library, as zod objects.

## An error

\`\`\`json
{
  "error": {
    "code": "RK-TOOL-MISSING",
    "message": "This machine has no qemu-system-x86_64.",
    "hint": "Install it: apt-get install qemu-system-x86",
    "exitCode": 5
  }
}
\`\`\`

${render(errorDocument)}

## Progress, on standard error

\`\`\`json
{"progress":{"type":"start","step":"target","title":"Fetch the kernel's packages"}}
{"progress":{"type":"update","step":"target","fraction":0.4}}
{"progress":{"type":"done","step":"target","title":"Fetch the kernel's packages","elapsedMs":5120.3}}
\`\`\`

A step that fails has no \`done\`; steps can run side by side.

${render(progressLine)}

## Results

${sections.join("\n\n")}
`;
}

function render(schema: z.ZodType): string {
  return fields(z.toJSONSchema(schema) as Schema, 0).join("\n");
}

function fields(schema: Schema, depth: number): string[] {
  const lines: string[] = [];
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    const optional = schema.required?.includes(name) ? "" : ", *optional*";
    const about = field.description === undefined ? "" : `: ${field.description}`;
    lines.push(`${"  ".repeat(depth)}- \`${name}\` (${typeName(field)}${optional})${about}`);
    lines.push(...fields(inner(field), depth + 1));
  }
  for (const choice of schema.oneOf ?? []) {
    const type = choice.properties?.type?.const;
    lines.push(`${"  ".repeat(depth)}- where \`type\` is \`${JSON.stringify(type)}\`:`);
    const { type: _type, ...properties } = choice.properties ?? {};
    lines.push(...fields({ ...choice, properties }, depth + 1));
  }
  return lines;
}

/** The object in which a field's own fields are: itself, a list's element, or what it is when it is not null. */
function inner(field: Schema): Schema {
  if (field.type === "array" && field.items !== undefined) return inner(field.items);
  const objects = field.anyOf?.filter(({ type }) => type !== "null");
  return objects?.length === 1 ? inner(objects[0]!) : field;
}

function typeName(field: Schema): string {
  if (field.const !== undefined) return `always \`${JSON.stringify(field.const)}\``;
  if (field.enum !== undefined) return field.enum.map((value) => `\`${JSON.stringify(value)}\``).join(" or ");
  const choices = field.anyOf ?? field.oneOf;
  if (choices !== undefined) return [...new Set(choices.map(typeName))].join(" or ");
  if (field.type === "array")
    return `list of ${field.items === undefined ? "anything" : plural(typeName(field.items))}`;
  if (field.type === "object" && typeof field.additionalProperties === "object")
    return `object: name to ${typeName(field.additionalProperties)}`;
  return [field.type ?? "anything"].flat().join(" or ");
}

function plural(type: string): string {
  return /^(string|number|integer|object|boolean)$/.test(type) ? `${type}s` : type;
}

if (import.meta.main) writeFileSync(join(dirname(import.meta.dirname), "docs/json.md"), renderGuide());
