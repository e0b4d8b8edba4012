//! ABI v0.2.0 of Envoy's dynamic modules, as far as this filter uses it: types, and the callbacks that Envoy offers.
//! Written by hand after `abi.h` of Envoy 1.40.

use std::ffi::{c_char, c_void};
use std::ptr;

pub(super) type EnvoyConfig = *mut c_void;
pub(super) type EnvoyFilter = *mut c_void;
pub(super) type EnvoyScheduler = *mut c_void;
pub(super) type OurConfig = *const c_void;
pub(super) type OurFilter = *const c_void;

/// Bytes that Envoy lends.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct EnvoyBytes {
    pub(super) start: *const c_char,
    pub(super) length: usize,
}

impl EnvoyBytes {
    pub(super) const NONE: Self = Self {
        start: ptr::null(),
        length: 0,
    };

    /// The bytes.
    ///
    /// # Safety
    /// Envoy filled this in, and lends the bytes for all of `'a`.
    pub(super) unsafe fn get<'a>(self) -> &'a [u8] {
        if self.start.is_null() || self.length == 0 {
            return &[];
        }
        // SAFETY: not null, and by the caller's word these bytes are there for `'a` and nobody changes them.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.length) }
    }
}

/// Bytes that we lend for the time of one callback.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct OurBytes {
    pub(super) start: *const c_char,
    pub(super) length: usize,
}

impl OurBytes {
    /// What Envoy takes for "remove".
    pub(super) const NONE: Self = Self {
        start: ptr::null(),
        length: 0,
    };

    pub(super) fn of(text: &str) -> Self {
        Self {
            start: text.as_ptr().cast(),
            length: text.len(),
        }
    }
}

/// A header that we lend.
#[repr(C)]
pub(super) struct OurHeader {
    pub(super) name: OurBytes,
    pub(super) value: OurBytes,
}

/// How a kind of metric is defined.
pub(super) type Define = unsafe extern "C" fn(EnvoyConfig, OurBytes, *mut OurBytes, usize, *mut usize) -> u32;

pub(super) const REQUEST_HEADERS: u32 = 0;
pub(super) const CONTINUE: u32 = 0;
pub(super) const STOP_ITERATION: u32 = 1;
/// Of the metrics' results.
pub(super) const SUCCESS: u32 = 0;
/// What the scheduled event is about; there is only one.
pub(super) const SHOW_GAUGES: u64 = 1;

// SAFETY: the signatures are those of Envoy 1.40's `abi.h`; each was called in its released executable.
unsafe extern "C" {
    #[link_name = "envoy_dynamic_module_callback_http_get_header"]
    pub(super) fn get_header(
        filter: EnvoyFilter,
        kind: u32,
        name: OurBytes,
        value: *mut EnvoyBytes,
        index: usize,
        count: *mut usize,
    ) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_filter_get_attribute_string"]
    pub(super) fn get_attribute_string(filter: EnvoyFilter, attribute: u32, value: *mut EnvoyBytes) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_set_header"]
    pub(super) fn put_header(filter: EnvoyFilter, kind: u32, name: OurBytes, value: OurBytes) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_clear_route_cache"]
    pub(super) fn clear_route_cache(filter: EnvoyFilter);
    #[link_name = "envoy_dynamic_module_callback_http_send_response"]
    pub(super) fn send_response(
        filter: EnvoyFilter,
        status: u32,
        headers: *mut OurHeader,
        headers_length: usize,
        body: OurBytes,
        details: OurBytes,
    );
    #[link_name = "envoy_dynamic_module_callback_http_set_dynamic_metadata_string"]
    pub(super) fn put_metadata(filter: EnvoyFilter, namespace: OurBytes, key: OurBytes, value: OurBytes);
    #[link_name = "envoy_dynamic_module_callback_http_filter_increment_counter"]
    pub(super) fn increment_counter(
        filter: EnvoyFilter,
        id: usize,
        labels: *mut OurBytes,
        labels_length: usize,
        by: u64,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_define_counter"]
    pub(super) fn define_counter(
        config: EnvoyConfig,
        name: OurBytes,
        labels: *mut OurBytes,
        labels_length: usize,
        id: *mut usize,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_define_gauge"]
    pub(super) fn define_gauge(
        config: EnvoyConfig,
        name: OurBytes,
        labels: *mut OurBytes,
        labels_length: usize,
        id: *mut usize,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_set_gauge"]
    pub(super) fn set_gauge(
        config: EnvoyConfig,
        id: usize,
        labels: *mut OurBytes,
        labels_length: usize,
        value: u64,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_scheduler_new"]
    pub(super) fn scheduler_new(config: EnvoyConfig) -> EnvoyScheduler;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_scheduler_commit"]
    pub(super) fn scheduler_commit(scheduler: EnvoyScheduler, event: u64);
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_scheduler_delete"]
    pub(super) fn scheduler_delete(scheduler: EnvoyScheduler);
    #[link_name = "envoy_dynamic_module_callback_log"]
    pub(super) fn write_log(level: u32, line: OurBytes);
    #[link_name = "envoy_dynamic_module_callback_get_concurrency"]
    pub(super) fn get_concurrency() -> u32;
    #[link_name = "envoy_dynamic_module_callback_is_validation_mode"]
    pub(super) fn is_validation_mode() -> bool;
}
