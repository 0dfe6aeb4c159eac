//! Any bytes decode into a record of no more than their length, or fail.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sockleak::sock::dead::decode_followed;
use sockleak::sock::decode::decode;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((_, len)) = decode(bytes) {
        assert!(0 < len && len <= bytes.len());
    }
    if let Ok((_, len)) = decode_followed(bytes) {
        assert!(0 < len && len <= bytes.len());
    }
});
