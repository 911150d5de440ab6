//! The API server of this host, by the crate `kube`.

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::{HostError, Reader};

impl Reader {
    /// Makes a client from the text of a kubeconfig. It could change things too, so nobody else gets it.
    async fn cluster(&self, kubeconfig: &str) -> Result<Client, HostError> {
        let parsed = Kubeconfig::from_yaml(kubeconfig).map_err(|error| failed(&error))?;
        let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
            .await
            .map_err(|error| failed(&error))?;
        Client::try_from(config).map_err(|error| failed(&error))
    }

    /// Asks the API server for a path such as `/readyz`.
    pub async fn ask_cluster(&self, kubeconfig: &str, path: &str) -> Result<String, HostError> {
        let request = hyper::Request::get(path)
            .body(vec![])
            .map_err(|error| failed(&error))?;
        let client = self.cluster(kubeconfig).await?;
        client
            .request_text(request)
            .await
            .map_err(|error| failed(&error))
    }
}

fn failed(error: &(dyn std::error::Error + 'static)) -> HostError {
    HostError::Service {
        service: "the API server".to_owned(),
        fault: stead_engine::report::chain(error).join(": "),
    }
}
