//! Defaults of fields whose block also has required keys, for instance
//! `#[serde(default = "millis::<500>")]`.

pub fn millis<const N: u64>() -> u64 {
    N
}

pub fn count<const N: u32>() -> u32 {
    N
}

pub fn yes() -> bool {
    true
}

pub fn half() -> f32 {
    0.5
}
