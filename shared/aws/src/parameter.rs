//! The parameters of a deployment, in Systems Manager.

use aws_sdk_ssm::operation::get_parameter::GetParameterError;
use tufline_store::{ErrorKind, Result, StoreError};

use crate::Clients;
use crate::failure::failed;

impl Clients {
    /// The text of the parameter `name`; `None` if it doesn't exist.
    ///
    /// <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html>
    pub async fn parameter(&self, name: &str) -> Result<Option<String>> {
        let place = || format!("parameter {name}");
        let client = aws_sdk_ssm::Client::new(&self.config);
        match client.get_parameter().name(name).send().await {
            Ok(answer) => {
                let value = answer.parameter.and_then(|parameter| parameter.value);
                value.map(Some).ok_or_else(|| {
                    StoreError::new(ErrorKind::Corrupt, "read", place(), "it has no value")
                })
            }
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetParameterError::is_parameter_not_found) =>
            {
                Ok(None)
            }
            Err(error) => Err(failed("read", place(), error)),
        }
    }
}
