use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde_json::Value;
use weir_metrics::MqttCount;

use super::*;

fn metrics() -> Metrics {
    Metrics::new("h", std::time::Instant::now())
}

fn writer(metrics: &Metrics, output: Output) -> Writer {
    Writer {
        metrics: metrics.clone(),
        namespace: "Weir".to_owned(),
        output,
        written: Default::default(),
        is_failing: false,
    }
}

fn at(path: &Path) -> Output {
    Output::of(path.to_str().unwrap()).unwrap()
}

/// The pings in each line about MQTT. Every line has to be whole.
fn pings(text: &str) -> Vec<u64> {
    let lines = text.lines().filter(|line| !line.is_empty());
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mqtt = lines.filter(|line| line["Protocol"] == "MQTT");
    mqtt.map(|line| line["Ping.Success"].as_u64().unwrap())
        .collect()
}

#[test]
fn a_file_is_appended_to_and_followed_when_it_is_moved() {
    let folder = tempfile::tempdir().unwrap();
    let [path, moved] = ["metrics.jsonl", "metrics.jsonl.1"].map(|name| folder.path().join(name));
    let metrics = metrics();
    let mut writer = writer(&metrics, at(&path));
    for count in [1, 2] {
        metrics.mqtt().add(MqttCount::Ping, count);
        writer.write(UNIX_EPOCH);
    }
    fs::rename(&path, &moved).unwrap();
    metrics.mqtt().add(MqttCount::Ping, 3);
    writer.write(UNIX_EPOCH);
    let read = |path| pings(&fs::read_to_string(path).unwrap());
    assert_eq!(read(&moved), [1, 2]);
    assert_eq!(read(&path), [3]);
}

#[test]
fn a_restarted_gateway_appends_what_it_has_counted_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    for count in [5, 3] {
        let metrics = metrics();
        let mut writer = writer(&metrics, at(&path));
        metrics.mqtt().add(MqttCount::Ping, count);
        writer.write(UNIX_EPOCH);
    }
    assert_eq!(pings(&fs::read_to_string(path).unwrap()), [5, 3]);
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_full_disk_did_not_take_is_in_the_next_line() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = metrics();
    let mut writer = writer(&metrics, at(Path::new("/dev/full")));
    for _ in 0..2 {
        metrics.mqtt().add(MqttCount::Ping, 4);
        writer.write(UNIX_EPOCH);
        assert!(writer.is_failing);
    }
    let path = folder.path().join("metrics.jsonl");
    writer.output = at(&path);
    writer.write(UNIX_EPOCH);
    assert!(!writer.is_failing);
    assert_eq!(pings(&fs::read_to_string(path).unwrap()), [8]);
}

#[test]
fn a_stream_is_written_until_nobody_reads_it_and_that_harms_nothing() {
    let (mut reader, writing) = std::io::pipe().unwrap();
    let metrics = metrics();
    let stream = Output::stream(File::from(OwnedFd::from(writing)));
    let mut writer = writer(&metrics, stream);
    metrics.mqtt().add(MqttCount::Ping, 2);
    writer.write(UNIX_EPOCH);
    let mut line = vec![0; 8192];
    let length = reader.read(&mut line).unwrap();
    assert_eq!(pings(std::str::from_utf8(&line[..length]).unwrap()), [2]);
    drop(reader);
    writer.write(UNIX_EPOCH);
    assert!(writer.is_failing);
}

#[test]
fn a_file_that_cannot_be_opened_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("none/metrics")] {
        let config = AwsIotConfig {
            output: path.to_str().unwrap().to_owned(),
            ..AwsIotConfig::default()
        };
        let error = AwsIot::build(&config, metrics()).unwrap_err();
        assert!(error.to_string().contains("metrics.aws_iot.output"));
    }
}

#[tokio::test]
async fn the_last_line_is_written_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let metrics = metrics();
    let config = AwsIotConfig {
        interval: 3_600,
        output: path.to_str().unwrap().to_owned(),
        ..AwsIotConfig::default()
    };
    let aws_iot = AwsIot::build(&config, metrics.clone()).unwrap();
    metrics.mqtt().add(MqttCount::Ping, 7);
    let stop = CancellationToken::new();
    stop.cancel();
    aws_iot.run(stop, Duration::from_secs(60)).await;
    assert_eq!(pings(&fs::read_to_string(path).unwrap()), [7]);
}

/// On the only thread of this runtime: were it held up, the test would not end.
#[tokio::test]
async fn a_pipe_that_nobody_reads_holds_up_nobody() {
    let (mut reader, writing) = std::io::pipe().unwrap();
    let stream = Output::stream(File::from(OwnedFd::from(writing)));
    let mut writer = writer(&metrics(), stream);
    // One line is more than a pipe holds.
    writer.namespace = "a".repeat(1_000_000);
    let aws_iot = AwsIot {
        interval: Duration::from_millis(1),
        writer,
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(aws_iot.run(stop.clone(), Duration::from_millis(1)));
    let begun = tokio::task::spawn_blocking(move || {
        reader.read_exact(&mut [0; 100]).unwrap();
        reader
    });
    let reader = begun.await.unwrap();
    stop.cancel();
    running.await.unwrap();
    drop(reader);
}
