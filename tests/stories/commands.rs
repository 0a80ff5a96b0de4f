//! The operator's commands, against a running gateway: one object at a time here, many in [`fleet`];
//! those that are an application are in [`application`].

mod application;
mod fleet;

use std::io::Write as _;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::{Application, Device, Gateway, basic, story};

/// What became of a command.
struct Done {
    status: i32,
    out: String,
    error: String,
}

impl Done {
    /// Requires success.
    fn succeeded(self) -> String {
        assert_eq!(self.status, 0, "{}\n{}", self.out, self.error);
        self.out
    }

    /// Requires failure and returns what was said of it.
    fn failed(self) -> String {
        assert_eq!(self.status, 1, "{}\n{}", self.out, self.error);
        self.error
    }

    fn json(self) -> Value {
        serde_json::from_str(&self.succeeded()).unwrap()
    }
}

/// Runs a command in the folder of a gateway, where it finds the operator's account.
fn weir(gateway: &Gateway, arguments: &[&str]) -> Done {
    weir_with_input(gateway, arguments, "")
}

fn weir_with_input(gateway: &Gateway, arguments: &[&str], input: &str) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    let (api, amqp) = ("management", "northbound.amqp");
    let mut child = command
        .args(arguments)
        .env("WEIR_URL", format!("http://{}", gateway.address(api)))
        .env("WEIR_AMQP_URL", format!("amqp://{}", gateway.address(amqp)))
        .current_dir(gateway.data().parent().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Not every command reads to the end.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Done {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Whether a device can log in and is heard.
async fn can_send(gateway: &Gateway, tenant: &str, name: &str, password: &str) -> bool {
    let device = Device {
        tenant: tenant.to_owned(),
        id: name.to_owned(),
        username: format!("{name}@{tenant}"),
        password: password.to_owned(),
    };
    let request = reqwest::Client::new().post(gateway.http("/telemetry"));
    let request = basic(request, &device).header("content-type", "text/plain");
    let status = request.body("x").send().await.unwrap().status();
    assert!(matches!(status.as_u16(), 202 | 401), "{status}");
    status == 202
}

#[test]
fn a_tenant_is_created_shown_changed_and_deleted() {
    story(async {
        let gateway = Gateway::start().await;
        let created = weir(
            &gateway,
            &["tenant", "create", "acme", "--json", r#"{"ext":{"a":1}}"#],
        );
        assert_eq!(created.succeeded(), "tenant acme created\n");
        let made_up = weir(&gateway, &["tenant", "create", "--disabled", "-o", "json"]).json();
        let made_up = made_up["id"].as_str().unwrap().to_owned();
        let shown = weir(&gateway, &["tenant", "get", &made_up, "-o", "json"]).json();
        assert_eq!(shown["enabled"], false);

        weir(&gateway, &["tenant", "update", "acme", "--disable"]).succeeded();
        let shown = weir(&gateway, &["tenant", "get", "acme", "-o", "json"]).json();
        assert_eq!(
            (&shown["enabled"], &shown["ext"]["a"]),
            (&json!(false), &json!(1))
        );

        let table = weir(&gateway, &["tenant", "get", "acme"]).succeeded();
        let version = table
            .lines()
            .find(|line| line.starts_with("version"))
            .unwrap();
        let version = version.split_whitespace().nth(1).unwrap();
        let replaced = ["tenant", "update", "acme", "-f", "-", "--if-match", version];
        weir_with_input(&gateway, &replaced, "enabled: true\n").succeeded();
        let error = weir_with_input(&gateway, &replaced, "enabled: true\n").failed();
        assert!(
            error.contains("tenant acme: ") && error.contains("(412"),
            "{error}"
        );
        let shown = weir(&gateway, &["tenant", "get", "acme", "-o", "json"]).json();
        assert_eq!(shown.get("ext"), None, "the whole is replaced");

        let deleted = weir(&gateway, &["tenant", "delete", "acme"]);
        assert_eq!(deleted.succeeded(), "tenant acme deleted\n");
        let error = weir(&gateway, &["tenant", "get", "acme"]).failed();
        assert!(error.contains("(404 Not Found)"), "{error}");
    });
}

#[test]
fn a_device_gets_a_password_that_it_can_send_with() {
    story(async {
        let gateway = Gateway::start().await;
        weir(&gateway, &["tenant", "create", "acme"]).succeeded();
        weir(
            &gateway,
            &["device", "create", "acme", "sensor", "--via", "gw"],
        )
        .succeeded();
        let shown = weir(&gateway, &["device", "get", "acme", "sensor", "-o", "json"]).json();
        assert_eq!(shown["via"], json!(["gw"]));
        let _application = Application::consume(&gateway, "telemetry/acme").await;

        let create = [
            "credentials",
            "create",
            "acme",
            "sensor",
            "--password-stdin",
        ];
        let hashed = [&create[..], &["--hash", "sha-256", "--auth-id", "other"]].concat();
        let done = weir_with_input(&gateway, &create, "one\n").succeeded();
        assert_eq!(
            done,
            "hashed-password with auth-id sensor of acme/sensor created\n"
        );
        weir_with_input(&gateway, &hashed, "two").succeeded();
        let error = weir_with_input(&gateway, &create, "three").failed();
        assert!(error.contains("already"), "{error}");
        assert!(can_send(&gateway, "acme", "sensor", "one").await);
        assert!(can_send(&gateway, "acme", "other", "two").await);

        let update = [
            "credentials",
            "update",
            "acme",
            "sensor",
            "--auth-id",
            "sensor",
        ];
        let password = [&update[..], &["--password-stdin"]].concat();
        weir_with_input(&gateway, &password, "four\n").succeeded();
        assert!(!can_send(&gateway, "acme", "sensor", "one").await);
        assert!(can_send(&gateway, "acme", "sensor", "four").await);
        assert!(
            can_send(&gateway, "acme", "other", "two").await,
            "it keeps its own"
        );

        weir(&gateway, &[&update[..], &["--disable"]].concat()).succeeded();
        assert!(!can_send(&gateway, "acme", "sensor", "four").await);
        let set = weir(
            &gateway,
            &["credentials", "get", "acme", "sensor", "-o", "json"],
        )
        .json();
        assert_eq!(set[0]["enabled"], false);
        assert_eq!(set.as_array().unwrap().len(), 2);
        let which = ["credentials", "delete", "acme", "sensor"];
        let error = weir(&gateway, &which).failed();
        assert!(error.contains("more than one"), "{error}");
        let done = weir(&gateway, &[&which[..], &["--auth-id", "other"]].concat()).succeeded();
        assert_eq!(
            done,
            "hashed-password with auth-id other of acme/sensor deleted\n"
        );
        let table = weir(&gateway, &["credentials", "list", "acme", "sensor"]).succeeded();
        assert_eq!(table.lines().count(), 2, "{table}");
        let done = weir(&gateway, &[&which[..], &["--all"]].concat()).succeeded();
        assert_eq!(done, "credentials of acme/sensor deleted\n");
        weir(&gateway, &["device", "delete", "acme", "sensor"]).succeeded();
        weir(&gateway, &["device", "get", "acme", "sensor"]).failed();
    });
}

#[test]
fn objects_are_listed_filtered_and_sorted() {
    story(async {
        let gateway = Gateway::start().await;
        for (tenant, more) in [
            ("acme", "--json={}"),
            ("b", "--disabled"),
            ("c", "--alias=see"),
        ] {
            weir(&gateway, &["tenant", "create", tenant, more]).succeeded();
        }
        let table = weir(&gateway, &["tenant", "list", "--sort", "/id:desc"]).succeeded();
        let ids: Vec<_> = table
            .lines()
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        assert_eq!(ids, ["ID", "c", "b", "acme"]);
        let found = ["tenant", "list", "--filter", "/enabled=false", "-o", "json"];
        let found = weir(&gateway, &found).json();
        assert_eq!(
            (&found["total"], &found["result"][0]["id"]),
            (&json!(1), &json!("b"))
        );
        let none = ["tenant", "list", "--filter", "/id=x*", "-o", "json"];
        assert_eq!(
            weir(&gateway, &none).json(),
            json!({"total": 0, "result": []})
        );

        for number in 0..201 {
            let path = format!("devices/acme/device-{number:03}");
            gateway
                .manage(Method::POST, &path, &json!({"via": ["device-007"]}))
                .await;
        }
        let first = weir(&gateway, &["device", "list", "acme"]);
        assert!(first.error.contains("30 of 201"), "{}", first.error);
        assert_eq!(first.succeeded().lines().count(), 31);
        let all = weir(&gateway, &["device", "list", "acme", "--all", "-o", "json"]).json();
        assert_eq!(all["result"].as_array().unwrap().len(), 201);
        assert_eq!(all["result"][200]["id"], "device-200");
        let gateways = ["device", "list", "acme", "--gateways", "-o", "json"];
        assert_eq!(
            weir(&gateway, &gateways).json()["result"][0]["id"],
            "device-007"
        );
        let error = weir(&gateway, &["device", "list", "nobody"]).failed();
        assert!(
            error.contains("devices of tenant nobody: ") && error.contains("404"),
            "{error}"
        );
        let empty = weir(&gateway, &["device", "list", "b"]).succeeded();
        assert_eq!(empty.lines().count(), 1, "only the heads: {empty}");
    });
}

#[test]
fn all_devices_of_a_tenant_are_deleted_only_with_a_yes() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let delete = ["device", "delete", &device.tenant, "--all"];
        let refused = weir(&gateway, &delete);
        assert_eq!(refused.status, 2);
        assert!(refused.error.contains("--yes"), "{}", refused.error);
        // An unset variable of a script is no device, and least of all every device.
        for id in ["", "..", "."] {
            assert_eq!(
                weir(&gateway, &["device", "delete", &device.tenant, id]).status,
                2
            );
        }
        weir(&gateway, &["device", "get", &device.tenant, &device.id]).succeeded();
        weir(&gateway, &[&delete[..], &["--yes"]].concat()).succeeded();
        weir(&gateway, &["device", "get", &device.tenant, &device.id]).failed();
    });
}

#[test]
fn who_is_not_let_in_is_told_so() {
    story(async {
        let gateway = Gateway::start().await;
        let error = weir(&gateway, &["tenant", "get", "acme", "--user", "op:wrong"]).failed();
        assert!(
            error.contains("does not know this user and password (401"),
            "{error}"
        );
        let fleet = "{\"tenant\":\"a\"}\n{\"tenant\":\"b\"}\n{\"tenant\":\"c\"}\n";
        let error = fleet::apply(&gateway, fleet, &["--user", "op:wrong"]).failed();
        assert_eq!(error.matches("401").count(), 1, "told once: {error}");
        let elsewhere = ["tenant", "get", "acme", "--url", "http://gateway.example"];
        let error = weir(&gateway, &elsewhere).failed();
        assert!(error.contains("not on this host: give --user"), "{error}");
        let closed = ["tenant", "get", "acme", "--url", "http://127.0.0.1:1"];
        let error = weir(&gateway, &closed).failed();
        assert!(
            error.contains("cannot reach http://127.0.0.1:1/: Connection refused"),
            "{error}"
        );
        assert_eq!(weir(&gateway, &["tenant", "update", "acme"]).status, 2);
    });
}

#[test]
fn shells_can_complete_the_commands() {
    story(async {
        let gateway = Gateway::start().await;
        for shell in ["bash", "zsh", "fish"] {
            let script = weir(&gateway, &["completion", shell]).succeeded();
            assert!(script.contains("rotate-secrets"), "{shell}");
        }
    });
}
