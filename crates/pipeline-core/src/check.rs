//! Is every device ready for a visit? Connects to each and asks nothing but its vitals. Changes nothing there; a
//! device that has no agent yet is asked without it, and that is said.
//!
//! Guarantees: as many devices at once as asked and no more; one report for each device, in the order given, whatever happens
//! to the others; a device that was not reached before the wish to stop is reported as stopped. A check goes through the
//! same connection as a visit (host keys, authentication, source directory, and the agent where it is), so that "ready" means
//! what it says. Whether an agent that is not there yet could run is left to the first visit: only that puts it there.
//!
//! The collector's own side (configuration, keys, storage, state directory) is for the caller to look at first.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::error::Class;
use crate::event::{Counts, DeviceReport, Event, Observer, Outcome};
use crate::fleet::Device;
use crate::path::DeviceName;
use crate::remote::{Connect, Intent};

/// What a check found, one entry for each device in the order given.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// The devices.
    pub devices: Vec<DeviceCheck>,
    /// How long it took.
    pub elapsed: Duration,
}

/// What a check found on one device.
#[derive(Clone, Debug)]
pub struct DeviceCheck {
    /// Which device.
    pub device: DeviceName,
    /// [`Outcome::Done`] where a visit could begin at once.
    pub outcome: Outcome,
    /// What it said of itself; none unless the outcome is `Done`.
    pub readings: Option<Readings>,
    /// Why it was asked without the agent, if it was.
    pub without_agent: Option<WithoutAgent>,
    /// How long connecting took.
    pub elapsed: Duration,
}

/// Why a device has to be asked without the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithoutAgent {
    /// In words.
    pub reason: String,
    /// What would bring it.
    pub hint: Option<String>,
}

/// What a ready device says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readings {
    /// Its clock minus ours, in milliseconds; none where nobody can ask it.
    pub clock_offset_ms: Option<i64>,
    /// Size of the card, in bytes; 0 where unknown.
    pub total_bytes: u64,
    /// Free on the card, in bytes.
    pub free_bytes: u64,
}

/// Connects to every device, at most `jobs` at once (at least one), and reports what each said.
///
/// The observer hears `DeviceStarted`, what `connect` tells but for `FellBack`, which is in the report, `DeviceConnected` where
/// it worked, and `DeviceFinished`.
pub fn run(
    devices: &[Device],
    connect: &dyn Connect,
    jobs: usize,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> CheckReport {
    let began = Instant::now();
    let devices = at_once(devices, jobs, |device| check_device(device, connect, observer, cancel));
    CheckReport { devices, elapsed: began.elapsed() }
}

/// Does something with every device, at most `jobs` at once (at least one). The results are in the order of the devices.
pub(crate) fn at_once<T: Send>(devices: &[Device], jobs: usize, each: impl Fn(&Device) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<T>>> = devices.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, devices.len().max(1)) {
            scope.spawn(|| {
                while let Some(index) = take(&next, devices.len()) {
                    let result = each(&devices[index]);
                    *done[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                }
            });
        }
    });
    done.into_iter().filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

fn take(next: &AtomicUsize, count: usize) -> Option<usize> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    (index < count).then_some(index)
}

fn check_device(device: &Device, connect: &dyn Connect, observer: &dyn Observer, cancel: &Cancel) -> DeviceCheck {
    let began = Instant::now();
    let listener = Listener::new(observer);
    let (outcome, readings) = if cancel.is_set() {
        (Outcome::Stopped, None)
    } else {
        observer.event(&Event::DeviceStarted { device: device.name.clone() });
        match connect_twice(device, connect, &listener, cancel) {
            Ok(readings) => (Outcome::Done, Some(readings)),
            Err(outcome) => (outcome, None),
        }
    };
    let elapsed = began.elapsed();
    observer.event(&Event::DeviceFinished(DeviceReport {
        device: device.name.clone(),
        outcome: outcome.clone(),
        counts: Counts::default(),
        elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
    }));
    DeviceCheck { device: device.name.clone(), outcome, readings, without_agent: listener.without_agent(), elapsed }
}

/// Keeps for the report what a connection says of the agent, and passes on all else.
pub(crate) struct Listener<'a> {
    observer: &'a dyn Observer,
    without_agent: Mutex<Option<WithoutAgent>>,
}

impl<'a> Listener<'a> {
    pub(crate) fn new(observer: &'a dyn Observer) -> Listener<'a> {
        Listener { observer, without_agent: Mutex::default() }
    }

    pub(crate) fn without_agent(self) -> Option<WithoutAgent> {
        self.without_agent.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Listener<'_> {
    fn event(&self, event: &Event) {
        let Event::FellBack { reason, hint, .. } = event else { return self.observer.event(event) };
        let without = WithoutAgent { reason: reason.clone(), hint: hint.clone() };
        *self.without_agent.lock().unwrap_or_else(PoisonError::into_inner) = Some(without);
    }
}

/// The second try is for a jump connection that broke under this device's feet, as in a run.
fn connect_twice(
    device: &Device,
    connect: &dyn Connect,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Readings, Outcome> {
    let began = Instant::now();
    match connect_once(device, connect, observer) {
        Err(Outcome::Failed { class: Class::Transient, .. })
            if !cancel.is_set() && connect.shared_connection_broke(device, began) =>
        {
            connect_once(device, connect, observer)
        }
        result => result,
    }
}

fn connect_once(device: &Device, connect: &dyn Connect, observer: &dyn Observer) -> Result<Readings, Outcome> {
    let remote = connect.connect(device, observer, Intent::Look).map_err(|error| Outcome::broken_off(&*error))?;
    let vitals = remote.vitals();
    let readings = Readings {
        clock_offset_ms: remote.clock_offset_ns().map(|ns| ns / 1_000_000),
        total_bytes: vitals.total_bytes,
        free_bytes: vitals.free_bytes,
    };
    observer.event(&Event::DeviceConnected {
        device: device.name.clone(),
        clock_offset_ms: readings.clock_offset_ms,
        total_bytes: readings.total_bytes,
        free_bytes: readings.free_bytes,
    });
    Ok(readings)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Condvar;

    use super::*;
    use crate::config::{DeletePolicy, DeviceSettings, VersionPolicy};
    use crate::entry::{Entry, Prefix, Vitals};
    use crate::error::Classified;
    use crate::path::RelPath;
    use crate::receipt::Receipt;
    use crate::remote::{Answer, ConnectError, Remote, RemoteError, Scanned};

    /// What a device of the test does each time it is connected to: nothing (it is ready) or fail like this.
    type Script = BTreeMap<&'static str, Vec<Option<Class>>>;

    #[derive(Default)]
    struct Fleet {
        script: Mutex<Script>,
        connected: Mutex<Vec<String>>,
        at_once: Mutex<(usize, usize)>,
        changed: Condvar,
        wait_for: usize,
    }

    impl Fleet {
        fn new(script: &[(&'static str, &[Option<Class>])]) -> Fleet {
            Fleet {
                script: Mutex::new(script.iter().map(|(name, ends)| (*name, ends.to_vec())).collect()),
                ..Fleet::default()
            }
        }

        /// Holds everybody back until `wait_for` have met here, and notes the most that ever did.
        fn meet(&self) {
            let mut at_once = self.at_once.lock().unwrap();
            at_once.0 += 1;
            at_once.1 = at_once.1.max(at_once.0);
            self.changed.notify_all();
            let patience = Duration::from_secs(20);
            let (mut at_once, _) =
                self.changed.wait_timeout_while(at_once, patience, |at_once| at_once.1 < self.wait_for).unwrap();
            at_once.0 -= 1;
        }
    }

    impl Connect for Fleet {
        fn connect(
            &self,
            device: &Device,
            observer: &dyn Observer,
            intent: Intent,
        ) -> Result<Box<dyn Remote>, ConnectError> {
            assert_eq!(intent, Intent::Look, "a check changes nothing");
            self.meet();
            if device.name.as_str() == "new" {
                let (reason, hint) = ("not there yet".to_owned(), Some("sync".to_owned()));
                observer.event(&Event::FellBack { device: device.name.clone(), reason, hint, caveats: vec![] });
            }
            self.connected.lock().unwrap().push(device.name.to_string());
            match self.script.lock().unwrap().get_mut(device.name.as_str()).map(|ends| ends.remove(0)) {
                Some(Some(class)) => Err(Box::new(Failure(class))),
                _ => Ok(Box::new(Ready(Vitals {
                    clock_ns: 0,
                    total_bytes: 100,
                    free_bytes: 40,
                    total_files: 0,
                    free_files: 0,
                }))),
            }
        }

        fn shared_connection_broke(&self, _: &Device, _: Instant) -> bool {
            true
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("scripted")]
    struct Failure(Class);

    impl Classified for Failure {
        fn class(&self) -> Class {
            self.0
        }
    }

    struct Ready(Vitals);

    impl Remote for Ready {
        fn vitals(&self) -> &Vitals {
            &self.0
        }

        fn clock_offset_ns(&self) -> Option<i64> {
            Some(-2_500_000)
        }

        fn until(&self) -> Instant {
            panic!("a check is no visit")
        }

        fn agent(&self) -> Option<&str> {
            None
        }

        fn health(&mut self) -> Result<crate::health::Texts, RemoteError> {
            panic!("a check asks nothing")
        }

        fn scan(&mut self, _: &mut dyn FnMut(Scanned) -> Result<(), RemoteError>) -> Result<(), RemoteError> {
            panic!("a check scans nothing")
        }

        fn fetch(&mut self, _: u32, _: &Entry, _: &[Prefix]) -> Result<(), RemoteError> {
            panic!("a check fetches nothing")
        }

        fn delta(&mut self, _: u32, _: &Entry, _: &[u8]) -> Result<(), RemoteError> {
            panic!("a check fetches nothing")
        }

        fn can_delta(&self) -> bool {
            false
        }

        fn caveats(&self) -> &[String] {
            &[]
        }

        fn remove(&mut self, _: Vec<(u32, Receipt)>) -> Result<(), RemoteError> {
            panic!("a check removes nothing")
        }

        fn prune(&mut self, _: Vec<RelPath>, _: Duration) -> Result<(), RemoteError> {
            panic!("a check prunes nothing")
        }

        fn answer(&mut self) -> Result<Answer<'_>, RemoteError> {
            panic!("a check asks nothing")
        }
    }

    fn devices(names: &[&str]) -> Vec<Device> {
        let settings = DeviceSettings {
            source: "/data".into(),
            layout: "{host}/{path}".into(),
            include: vec![],
            exclude: vec![],
            settle: Duration::ZERO,
            delete: DeletePolicy { after: None, high_water: None, low_water: None, max_files: None },
            versions: VersionPolicy::default(),
            alert_after: None,
            bandwidth: None,
        };
        let device = |name: &&str| Device { name: DeviceName::new(*name).unwrap(), settings: settings.clone() };
        names.iter().map(device).collect()
    }

    fn outcomes(report: &CheckReport) -> Vec<(&str, &Outcome)> {
        report.devices.iter().map(|check| (check.device.as_str(), &check.outcome)).collect()
    }

    fn failed(class: Class) -> Outcome {
        Outcome::Failed { class, reason: "scripted".into(), hint: None }
    }

    #[test]
    fn every_device_is_reported_in_order() {
        let fleet = Fleet::new(&[("b", &[Some(Class::Unreachable)]), ("c", &[Some(Class::HostKey)])]);
        let report = run(&devices(&["c", "b", "a"]), &fleet, 8, &(), &Cancel::new());
        let offline = Outcome::Offline { reason: "scripted".into(), hint: None };
        assert_eq!(outcomes(&report), [("c", &failed(Class::HostKey)), ("b", &offline), ("a", &Outcome::Done)]);
        let readings = Readings { clock_offset_ms: Some(-2), total_bytes: 100, free_bytes: 40 };
        assert_eq!(report.devices[2].readings, Some(readings));
        assert_eq!(report.devices[0].readings, None);
    }

    #[test]
    fn a_device_that_has_no_agent_is_ready_and_says_so() {
        let report = run(&devices(&["new", "old"]), &Fleet::default(), 2, &(), &Cancel::new());
        assert_eq!(outcomes(&report), [("new", &Outcome::Done), ("old", &Outcome::Done)]);
        let without = WithoutAgent { reason: "not there yet".into(), hint: Some("sync".into()) };
        assert_eq!(
            report.devices.into_iter().map(|check| check.without_agent).collect::<Vec<_>>(),
            [Some(without), None]
        );
    }

    #[test]
    fn as_many_at_once_as_jobs() {
        let fleet = Fleet { wait_for: 3, ..Fleet::default() };
        let report = run(&devices(&["a", "b", "c", "d", "e", "f", "g", "h"]), &fleet, 3, &(), &Cancel::new());
        assert_eq!(report.devices.len(), 8);
        assert_eq!(fleet.at_once.lock().unwrap().1, 3);
    }

    #[test]
    fn a_broken_jump_connection_earns_one_more_try() {
        let transient = Some(Class::Transient);
        let fleet = Fleet::new(&[("a", &[transient, None]), ("b", &[transient, transient])]);
        let report = run(&devices(&["a", "b"]), &fleet, 1, &(), &Cancel::new());
        assert_eq!(outcomes(&report), [("a", &Outcome::Done), ("b", &failed(Class::Transient))]);
        assert_eq!(*fleet.connected.lock().unwrap(), ["a", "a", "b", "b"]);
    }

    #[test]
    fn nobody_is_called_after_the_wish_to_stop() {
        let fleet = Fleet::default();
        let cancel = Cancel::new();
        cancel.set();
        let report = run(&devices(&["a", "b"]), &fleet, 2, &(), &cancel);
        assert_eq!(outcomes(&report), [("a", &Outcome::Stopped), ("b", &Outcome::Stopped)]);
        assert!(fleet.connected.lock().unwrap().is_empty());
    }
}
