// A back-end application that sends, made with rhea: the same program as sender.py.

import rhea from "rhea";
import { connect, options, refused, say } from "./talk.mjs";

const numbers = new Map();

function made({ data, text, map, ...fields }) {
  const body = data !== undefined ? rhea.message.data_section(Buffer.from(data)) : (text ?? map);
  return body === undefined ? fields : { ...fields, body };
}

function outcome(state) {
  return ({ delivery }) => {
    const error = delivery.remote_state.error;
    say("outcome", {
      number: numbers.get(delivery.id),
      state,
      settled: delivery.remote_settled,
      condition: error?.condition ?? null,
      description: error?.description ?? null,
    });
  };
}

for (const state of ["accepted", "rejected", "released", "modified"]) rhea.on(state, outcome(state));
rhea.on("sender_open", ({ sender }) => {
  // A refused link is opened without a target, and then closed.
  if (sender.target?.address) say("attached", { address: sender.target.address });
});
rhea.on("sender_flow", ({ sender }) => {
  if (sender.credit > 0) say("credit", { address: sender.target.address });
});
rhea.on("sender_error", ({ sender, connection }) => refused(sender, connection));

const connection = connect((order, address, number, message) => {
  const delivery = senders.get(address).send(made(message));
  numbers.set(delivery.id, number);
  say("sent", { number });
});
const senders = new Map(
  options.addresses.map((address) => [address, connection.open_sender({ target: address })]),
);
