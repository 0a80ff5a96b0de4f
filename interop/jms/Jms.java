import jakarta.jms.BytesMessage;
import jakarta.jms.Connection;
import jakarta.jms.JMSException;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageProducer;
import jakarta.jms.Session;
import jakarta.jms.TextMessage;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.qpid.jms.JmsConnection;
import org.apache.qpid.jms.JmsConnectionFactory;
import org.apache.qpid.jms.JmsConnectionListener;
import org.apache.qpid.jms.JmsQueue;
import org.apache.qpid.jms.message.JmsInboundMessageDispatch;

/**
 * A back-end application made with Qpid JMS. Started by harness/jms.py as `Jms URI USER PASSWORD`. Each
 * line of standard input is an order, its words parted by tabs, each line of standard output a JSON
 * object that says what happened.
 */
final class Jms {
  /** Milliseconds after which a message is not believed to come any more. */
  private static final long DEADLINE = 60_000;

  private final Connection connection;
  private final Map<String, Session> sessions = new HashMap<>();
  private final Map<String, MessageConsumer> consumers = new HashMap<>();
  private final Map<String, Message> latest = new HashMap<>();

  private Jms(String uri, String user, String password) throws JMSException {
    connection = new JmsConnectionFactory(uri).createConnection(user, password);
    connection.setExceptionListener(cause -> say("disconnected", Map.of("text", "" + cause.getMessage())));
    ((JmsConnection) connection).addConnectionListener(new Restored());
    connection.start();
    say("connected", Map.of());
  }

  /** Tells when a lost connection is there again. */
  private static final class Restored implements JmsConnectionListener {
    @Override
    public void onConnectionRestored(URI remote) {
      say("restored", Map.of());
    }

    @Override
    public void onConnectionEstablished(URI remote) {}

    @Override
    public void onConnectionFailure(Throwable error) {}

    @Override
    public void onConnectionInterrupted(URI remote) {}

    @Override
    public void onInboundMessage(JmsInboundMessageDispatch dispatch) {}

    @Override
    public void onSessionClosed(Session session, Throwable error) {}

    @Override
    public void onConsumerClosed(MessageConsumer consumer, Throwable error) {}

    @Override
    public void onProducerClosed(MessageProducer producer, Throwable error) {}
  }

  private void obey(String[] order) throws JMSException {
    switch (order[0]) {
      case "session" -> {
        int mode = order[2].equals("client") ? Session.CLIENT_ACKNOWLEDGE : Session.AUTO_ACKNOWLEDGE;
        sessions.put(order[1], connection.createSession(mode));
      }
      case "consume" -> {
        Session session = sessions.get(order[1]);
        consumers.put(order[2], session.createConsumer(session.createQueue(order[2])));
        say("attached", Map.of("address", order[2]));
      }
      case "receive" -> receive(order[1], Integer.parseInt(order[2]));
      case "acknowledge" -> {
        latest.get(order[1]).acknowledge();
        say("acknowledged", Map.of());
      }
      case "recover" -> {
        sessions.get(order[1]).recover();
        say("recovered", Map.of());
      }
      case "leave" -> {
        consumers.remove(order[1]).close();
        say("left", Map.of("address", order[1]));
      }
      case "send" -> send(order);
      case "close" -> {
        connection.close();
        say("closed", Map.of());
      }
      default -> throw new IllegalArgumentException(order[0]);
    }
  }

  private void receive(String address, int count) throws JMSException {
    for (int received = 0; received < count; received++) {
      Message message = consumers.get(address).receive(DEADLINE);
      if (message == null) {
        say("nothing came", Map.of("address", address));
        return;
      }
      latest.put(address, message);
      byte[] body = body(message);
      Map<String, Object> said = new LinkedHashMap<>();
      said.put("address", address);
      said.put("kind", message instanceof TextMessage ? "text" : "bytes");
      said.put("body", HexFormat.of().formatHex(body));
      said.put("redelivered", message.getJMSRedelivered());
      said.put("correlation_id", message.getJMSCorrelationID());
      said.put("persistent", message.getJMSDeliveryMode() == jakarta.jms.DeliveryMode.PERSISTENT);
      for (var names = message.getPropertyNames(); names.hasMoreElements(); ) {
        String name = (String) names.nextElement();
        said.put("property:" + name, message.getObjectProperty(name));
      }
      say("message", said);
    }
  }

  private static byte[] body(Message message) throws JMSException {
    if (message instanceof TextMessage text) {
      String body = text.getText();
      return body == null ? new byte[0] : body.getBytes(StandardCharsets.UTF_8);
    }
    BytesMessage bytes = (BytesMessage) message;
    byte[] body = new byte[(int) bytes.getBodyLength()];
    bytes.readBytes(body);
    return body;
  }

  /** JMS has one name for a link's target and a message's "to", where Hono's applications have two. */
  private static final class Target extends JmsQueue {
    private String address;

    Target(String link) {
      address = link;
    }

    @Override
    public String getAddress() {
      return address;
    }
  }

  private void send(String[] order) throws JMSException {
    Session session = sessions.get(order[1]);
    Target target = new Target(order[2]);
    try (MessageProducer producer = session.createProducer(target)) {
      target.address = order[3];
      BytesMessage message = session.createBytesMessage();
      message.setJMSType(order[4]);
      if (!order[5].isEmpty()) message.setJMSReplyTo(session.createQueue(order[5]));
      if (!order[6].isEmpty()) message.setJMSCorrelationID(order[6]);
      message.writeBytes(order[7].getBytes(StandardCharsets.UTF_8));
      // Returns when it was accepted.
      producer.send(message);
      say("accepted", Map.of("to", order[3]));
    }
  }

  private static synchronized void say(String event, Map<String, Object> details) {
    String rest = details.entrySet().stream()
        .map(entry -> ", " + json(entry.getKey()) + ": " + json(entry.getValue()))
        .collect(Collectors.joining());
    System.out.println("{\"event\": " + json(event) + rest + "}");
    System.out.flush();
  }

  private static String json(Object value) {
    if (value == null || value instanceof Number || value instanceof Boolean) return "" + value;
    StringBuilder text = new StringBuilder("\"");
    for (char letter : value.toString().toCharArray()) {
      if (letter < ' ' || letter == '"' || letter == '\\') text.append(String.format("\\u%04x", (int) letter));
      else text.append(letter);
    }
    return text.append('"').toString();
  }

  public static void main(String[] arguments) throws Exception {
    Jms jms;
    try {
      jms = new Jms(arguments[0], arguments[1], arguments[2]);
    } catch (JMSException refused) {
      say("refused", Map.of("kind", refused.getClass().getSimpleName(), "text", "" + refused.getMessage()));
      System.exit(0);
      return;
    }
    var orders = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = orders.readLine()) != null; ) {
      try {
        jms.obey(line.split("\t", -1));
      } catch (JMSException failed) {
        String kind = failed.getClass().getSimpleName();
        say("failed", Map.of("order", line, "kind", kind, "text", "" + failed.getMessage()));
      }
      if (line.equals("close")) System.exit(0);
    }
  }
}
