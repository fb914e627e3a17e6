//! The limit of files and connections that the process may have open.

/// Enough for the web page's connections, cameras and recordings; programs that the process starts
/// inherit it, and some go through all descriptors that they could have.
#[cfg(unix)]
const WANTED: u64 = 65_536;

/// Raises the soft limit as far as the hard limit allows; the soft one is low for the sake of old programs.
#[cfg(unix)]
pub fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    // No number: no limit.
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!("the limit of open files stays as it is: {error}");
    }
}

#[cfg(not(unix))]
pub fn raise_limit() {}

#[cfg(all(test, unix))]
mod tests {
    use rustix::process::{Resource, getrlimit};

    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        raise_limit();
        let limit = getrlimit(Resource::Nofile);
        let most = limit.maximum.unwrap_or(WANTED).min(WANTED);
        assert!(limit.current.is_none_or(|current| current >= most));
    }
}
