// A back-end application that consumes, made with rhea: the same program as consumer.py.

import rhea from "rhea";
import { connect, options, refused, say } from "./talk.mjs";

const { addresses, outcome, credit: window } = options;

// The names that AMQP gives to the types that rhea tells apart by their encoding.
const TYPES = {
  Null: "null", True: "bool", False: "bool", Boolean: "bool",
  Ubyte: "ubyte", Ushort: "ushort", Uint: "uint", SmallUint: "uint", Uint0: "uint",
  Ulong: "ulong", SmallUlong: "ulong", Ulong0: "ulong",
  Byte: "byte", Short: "short", Int: "int", SmallInt: "int", Long: "long", SmallLong: "long",
  Float: "float", Double: "double", Timestamp: "timestamp", Uuid: "uuid",
  Vbin8: "binary", Vbin32: "binary", Str8: "string", Str32: "string", Sym8: "symbol", Sym32: "symbol",
  List0: "list", List8: "list", List32: "list", Map8: "map", Map32: "map",
};

function typed(item) {
  const type = TYPES[item.type.name];
  if (type === undefined) throw new Error(`unknown type ${item.type.name}`);
  let value = item.value;
  if (type === "list") value = value.map(typed);
  if (type === "map") value = pairs(value.map(typed));
  if (type === "binary") value = value.toString("hex");
  if (type === "timestamp") value = value.valueOf();
  const described = item.descriptor === undefined ? {} : { descriptor: item.descriptor.value };
  return { type, value, ...described };
}

function pairs(items) {
  return items.flatMap((item, at) => (at % 2 ? [] : [[item, items[at + 1]]]));
}

function sections(encoded) {
  const reader = new rhea.types.Reader(encoded);
  const found = [];
  while (reader.remaining()) found.push(typed(reader.read()));
  return found;
}

// rhea forgets types when it decodes, so the message is kept as it was sent beside it.
const decode = rhea.message.decode;
rhea.message.decode = (encoded) => Object.assign(decode(encoded), { encoded });

const OUTCOMES = {
  accepted: (delivery) => delivery.accept(),
  rejected: (delivery) =>
    delivery.reject({ condition: "hono:bad-request", description: "not what was asked for" }),
  released: (delivery) => delivery.release(),
  modified: (delivery) => delivery.modified({}),
  failed: (delivery) => delivery.modified({ delivery_failed: true }),
  undeliverable: (delivery) => delivery.modified({ undeliverable_here: true }),
};

const held = [];
let count = 0;
// Per address, when credit is given by order: how many more messages may come.
const credit = new Map();

function settle(delivery, outcome) {
  say("settling", { number: delivery.number, outcome });
  OUTCOMES[outcome](delivery);
}

rhea.on("receiver_open", ({ receiver }) => {
  // A refused link is opened without a source, and then closed.
  const address = receiver.source?.address;
  if (address) say("attached", { address });
});
rhea.on("message", ({ message, delivery, receiver }) => {
  const address = receiver.source.address;
  const left = window || credit.get(address);
  credit.set(address, left - 1);
  delivery.number = count++;
  say("message", {
    number: delivery.number,
    address,
    sections: sections(message.encoded),
    settled: delivery.remote_settled,
    had_credit: left > 0,
  });
  if (outcome === "hold") held.push(delivery);
  else settle(delivery, outcome);
});
rhea.on("settled", ({ delivery }) => {
  const state = delivery.remote_state?.constructor.composite_type;
  say("settled by the gateway", { number: delivery.number, state });
});
rhea.on("receiver_drained", ({ receiver }) => {
  receiver.drain = false;
  say("drained", { address: receiver.source.address });
});
rhea.on("receiver_error", ({ receiver, connection }) => refused(receiver, connection));

const connection = connect((order, argument, number) => {
  if (order === "credit") {
    credit.set(argument, (credit.get(argument) ?? 0) + number);
    receivers.get(argument).add_credit(number);
  }
  if (order === "drain") receivers.get(argument).drain_credit();
  if (order === "settle") {
    held.splice(0, number).forEach((delivery) => settle(delivery, argument));
  }
});
const receivers = new Map(
  addresses.map((address) => [
    address,
    connection.open_receiver({ source: address, credit_window: window, autoaccept: false }),
  ]),
);
