//! The request of a running hook, and Envoy apart from requests.

use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use decision::Field;

use super::Instance;
use super::abi::{
    EnvoyBytes, EnvoyConfig, EnvoyFilter, EnvoyScheduler, OurBytes, OurHeader, REQUEST_HEADERS, SHOW_GAUGES,
    clear_route_cache, get_attribute_string, get_header, increment_counter, put_header, put_metadata,
    scheduler_commit, scheduler_delete, scheduler_new, send_response, write_log,
};
use crate::host::{Answer, Attribute, Host, Level, Outside};
use crate::metrics::Counter;

/// The request of the running hook.
pub(super) struct EnvoyHost<'i> {
    filter: EnvoyFilter,
    instance: &'i Instance,
    answered: bool,
}

impl<'i> EnvoyHost<'i> {
    pub(super) fn new(filter: EnvoyFilter, instance: &'i Instance) -> Self {
        Self {
            filter,
            instance,
            answered: false,
        }
    }
}

impl Host for EnvoyHost<'_> {
    fn header(&self, name: &str) -> Field<'_> {
        let (mut value, mut count) = (EnvoyBytes::NONE, 0);
        // SAFETY: `filter` is the running hook's; `value` and `count` are ours.
        let found = unsafe {
            get_header(
                self.filter,
                REQUEST_HEADERS,
                OurBytes::of(name),
                &raw mut value,
                0,
                &raw mut count,
            )
        };
        match count {
            0 => Field::Absent,
            // SAFETY: Envoy filled `value` in; what is returned borrows `self`, which has to be borrowed anew for any
            // change, and ends with the hook.
            1 if found => Field::One(unsafe { value.get() }),
            _ => Field::Repeated,
        }
    }

    fn attribute(&self, attribute: Attribute) -> &[u8] {
        let mut value = EnvoyBytes::NONE;
        // SAFETY: `filter` is the running hook's; `value` is ours.
        let found = unsafe { get_attribute_string(self.filter, attribute.number(), &raw mut value) };
        if found {
            // SAFETY: as for a header.
            unsafe { value.get() }
        } else {
            &[]
        }
    }

    fn set_header(&mut self, name: &str, value: &str) -> bool {
        // SAFETY: `filter` is the running hook's; Envoy copies both.
        unsafe {
            put_header(
                self.filter,
                REQUEST_HEADERS,
                OurBytes::of(name),
                OurBytes::of(value),
            )
        }
    }

    fn remove_header(&mut self, name: &str) -> bool {
        // SAFETY: as above.
        unsafe { put_header(self.filter, REQUEST_HEADERS, OurBytes::of(name), OurBytes::NONE) }
    }

    fn clear_route_cache(&mut self) {
        // SAFETY: `filter` is the running hook's.
        unsafe { clear_route_cache(self.filter) };
    }

    fn respond(&mut self, answer: &Answer<'_>) {
        // A second answer would be a bug, on the way out of another one.
        if std::mem::replace(&mut self.answered, true) {
            return;
        }
        let mut headers: Vec<OurHeader> = answer
            .headers
            .iter()
            .map(|(name, value)| OurHeader {
                name: OurBytes::of(name),
                value: OurBytes::of(value),
            })
            .collect();
        // SAFETY: `filter` is the running hook's; Envoy copies headers, body and details before it returns.
        unsafe {
            send_response(
                self.filter,
                u32::from(answer.status),
                headers.as_mut_ptr(),
                headers.len(),
                OurBytes::of(answer.body),
                OurBytes::of(answer.details),
            );
        }
    }

    fn note(&mut self, key: &str, value: &str) {
        // SAFETY: `filter` is the running hook's; Envoy copies all of it.
        unsafe {
            put_metadata(
                self.filter,
                OurBytes::of("alphaswarm"),
                OurBytes::of(key),
                OurBytes::of(value),
            );
        }
    }

    fn count(&mut self, counter: Counter) {
        let known = self.instance.counters.iter().find(|(known, _)| *known == counter);
        if let Some((_, id)) = known {
            // SAFETY: `filter` is the running hook's; Envoy gave the id for its configuration, and there are no labels.
            // What cannot be counted is no reason to refuse a request.
            let _ = unsafe { increment_counter(self.filter, *id, ptr::null_mut(), 0, 1) };
        }
    }
}

/// Has Envoy's main thread call `config_scheduled`, from any thread.
pub(super) struct Scheduler(Mutex<EnvoyScheduler>);

// SAFETY: Envoy takes `commit` from any thread, and this is all that is done from others than Envoy's own; the mutex keeps
// it from a scheduler that is being deleted.
unsafe impl Send for Scheduler {}
// SAFETY: as above.
unsafe impl Sync for Scheduler {}

impl Scheduler {
    /// # Safety
    /// `envoy` is the configuration of the running `config_new` hook, on Envoy's main thread.
    pub(super) unsafe fn new(envoy: EnvoyConfig) -> Self {
        // SAFETY: `envoy` by our caller's word.
        Self(Mutex::new(unsafe { scheduler_new(envoy) }))
    }

    fn commit(&self) {
        let scheduler = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !scheduler.is_null() {
            // SAFETY: made by `scheduler_new` and not deleted, since it is not null; any thread may.
            unsafe { scheduler_commit(*scheduler, SHOW_GAUGES) };
        }
    }

    /// Once; afterwards nothing is scheduled.
    pub(super) fn delete(&self) {
        let mut scheduler = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *scheduler, ptr::null_mut());
        if !old.is_null() {
            // SAFETY: made by `scheduler_new`, and nobody can have it any more.
            unsafe { scheduler_delete(old) };
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // Where the instance did not come to be.
        self.delete();
    }
}

pub(super) struct EnvoyOutside(Arc<Scheduler>);

impl EnvoyOutside {
    pub(super) fn new(scheduler: Arc<Scheduler>) -> Self {
        Self(scheduler)
    }
}

impl Outside for EnvoyOutside {
    fn log(&self, level: Level, line: &str) {
        log(level, line);
    }

    fn show_gauges(&self) {
        self.0.commit();
    }
}

pub(super) fn log(level: Level, line: &str) {
    let level = match level {
        Level::Info => 2,
        Level::Warn => 3,
        Level::Error => 4,
    };
    let line = format!("tenant-router: {line}");
    // SAFETY: Envoy's log takes lines from any thread.
    unsafe { write_log(level, OurBytes::of(&line)) };
}
