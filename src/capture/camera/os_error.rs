//! Explains OS errors of cameras: nokhwa and v4l return them as text.

/// The OS error number in a message: nokhwa's errors have no other code.
pub fn os_error(text: &str) -> Option<i32> {
    let (_, after) = text.split_once("os error ")?;
    after
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// Turns an OS error into a message that says what is wrong and what to do.
pub fn explain_os_error(text: &str) -> String {
    match os_error(text) {
        Some(2 | 6) => "there is no such device; `mobilens devices` lists the cameras".to_owned(),
        Some(13) => "no permission to open it; is this user in the group \"video\"?".to_owned(),
        Some(16) => "another program is using it (device busy); close that one first".to_owned(),
        Some(19) => "it was unplugged; plug it in and start again".to_owned(),
        Some(28) => "not enough USB bandwidth; set a smaller size or a lower frame rate, or use \
                     another USB port"
            .to_owned(),
        Some(error @ (5 | 32 | 71 | 110)) => {
            format!("I/O error of its stream (os error {error}); plug it in again")
        }
        _ => text.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_are_explained() {
        let busy = "Could not open device stream: Device or resource busy (os error 16)";
        assert!(explain_os_error(busy).contains("another program"));
        assert!(explain_os_error("No such device (os error 19)").starts_with("it was unplugged"));
        assert!(
            explain_os_error("x: No space left on device (os error 28)").contains("USB bandwidth")
        );
        assert!(explain_os_error("Input/output error (os error 5)").contains("os error 5"));
        assert_eq!(explain_os_error("something\n  else"), "something else");
    }
}
