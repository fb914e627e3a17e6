//! On which processors a thread runs, and for how long it has: on Linux. Elsewhere nothing is known
//! and nothing changes.

pub(super) use imp::{CpuSet, ThreadId, current_cpu};

#[cfg(target_os = "linux")]
mod imp {
    use std::mem::{size_of, zeroed};
    use std::time::Duration;

    /// A thread of this process.
    #[derive(Clone, Copy, Debug)]
    pub(in super::super) struct ThreadId(libc::pid_t);

    /// A set of processors.
    #[derive(Clone, Copy)]
    pub(in super::super) struct CpuSet(libc::cpu_set_t);

    /// The processor that runs this thread.
    pub(in super::super) fn current_cpu() -> Option<usize> {
        // SAFETY: a query without arguments.
        usize::try_from(unsafe { libc::sched_getcpu() }).ok()
    }

    impl ThreadId {
        /// The calling thread.
        pub fn current() -> Self {
            // SAFETY: a query without arguments.
            Self(unsafe { libc::gettid() })
        }

        /// For how long processors have run the thread, if it lives.
        pub fn cpu_time(self) -> Option<Duration> {
            // The clock's number as `pthread_getcpuclockid` makes it, for threads and by the
            // scheduler's count.
            let clock = !self.0 << 3 | 0b110;
            // SAFETY: zeros are a time, and the call writes one.
            let time = unsafe {
                let mut time: libc::timespec = zeroed();
                if libc::clock_gettime(clock, &raw mut time) != 0 {
                    return None;
                }
                time
            };
            let seconds = u64::try_from(time.tv_sec).ok()?;
            Some(Duration::new(seconds, u32::try_from(time.tv_nsec).ok()?))
        }

        /// Lets only these processors run the thread; without effect where the system refuses.
        pub fn restrict(self, cpus: &CpuSet) {
            // SAFETY: the set is as long as is said.
            unsafe {
                libc::sched_setaffinity(self.0, size_of::<libc::cpu_set_t>(), &raw const cpus.0)
            };
        }
    }

    impl CpuSet {
        /// The processors that may run the calling thread.
        pub fn allowed() -> Option<Self> {
            // SAFETY: zeros are an empty set, as long as is said, and the call fills it.
            unsafe {
                let mut set: libc::cpu_set_t = zeroed();
                let size = size_of::<libc::cpu_set_t>();
                (libc::sched_getaffinity(0, size, &raw mut set) == 0).then_some(Self(set))
            }
        }

        /// One processor.
        pub fn only(cpu: usize) -> Self {
            // SAFETY: zeros are an empty set.
            let mut set = Self(unsafe { zeroed() });
            if cpu < Self::size() {
                // SAFETY: a number below the set's size.
                unsafe { libc::CPU_SET(cpu, &mut set.0) };
            }
            set
        }

        /// All but one processor.
        pub fn without(mut self, cpu: usize) -> Self {
            if cpu < Self::size() {
                // SAFETY: a number below the set's size.
                unsafe { libc::CPU_CLR(cpu, &mut self.0) };
            }
            self
        }

        /// Number of processors.
        pub fn count(&self) -> usize {
            // SAFETY: a whole set.
            usize::try_from(unsafe { libc::CPU_COUNT(&self.0) }).unwrap_or(0)
        }

        /// Processors that a set can name.
        fn size() -> usize {
            8 * size_of::<libc::cpu_set_t>()
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::time::Duration;

    #[derive(Clone, Copy, Debug)]
    pub(in super::super) struct ThreadId;

    #[derive(Clone, Copy)]
    pub(in super::super) struct CpuSet;

    pub(in super::super) fn current_cpu() -> Option<usize> {
        None
    }

    impl ThreadId {
        pub fn current() -> Self {
            Self
        }

        pub fn cpu_time(self) -> Option<Duration> {
            None
        }

        pub fn restrict(self, _: &CpuSet) {}
    }

    impl CpuSet {
        pub fn allowed() -> Option<Self> {
            None
        }

        pub fn only(_: usize) -> Self {
            Self
        }

        pub fn without(self, _: usize) -> Self {
            self
        }

        pub fn count(&self) -> usize {
            0
        }
    }
}
