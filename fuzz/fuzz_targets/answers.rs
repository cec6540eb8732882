#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diy_backup_fuzz::answers(data));
