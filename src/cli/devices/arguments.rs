//! Command-line arguments of `devices`, and how to reach network cameras.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Args;

/// Arguments of `devices`.
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Find network cameras (ONVIF) instead, with the RTSP URLs of their streams.
    #[arg(long)]
    pub network: bool,
    /// Ask one camera only, instead of all in the network: HOST, HOST:PORT (of WS-Discovery) or the URL of its
    /// ONVIF device service.
    #[arg(long, value_name = "HOST|URL", requires = "network")]
    pub address: Option<String>,
    /// Search on the network interface with this address; may be repeated. Default: all.
    #[arg(long, value_name = "IPV4", requires = "network")]
    pub interface: Vec<Ipv4Addr>,
    /// How long network cameras may take to answer the search.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=60))]
    pub seconds: u16,
    #[command(flatten)]
    pub login: LoginArgs,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// The user of network cameras.
#[derive(Clone, Debug, Args)]
pub struct LoginArgs {
    /// The user of network cameras.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// The environment variable that holds the user's password.
    #[arg(long, value_name = "NAME", default_value = "CAMERA_PASSWORD")]
    pub password_env: String,
    /// A file that holds the user's password, instead of an environment variable.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
}

/// A name that no environment variable of a pipeline can have.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} cannot be the name of an environment variable")]
pub struct VariableNameError(pub String);

impl LoginArgs {
    /// Whether the environment variable can be named in a pipeline.
    ///
    /// # Errors
    /// When it cannot.
    pub fn validate_variable(&self) -> Result<(), VariableNameError> {
        let name = &self.password_env;
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(is_of_name)
        {
            return Err(VariableNameError(name.clone()));
        }
        Ok(())
    }
}
