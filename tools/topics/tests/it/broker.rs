use rdkafka::ClientConfig;

#[tokio::test]
async fn a_broker_takes_the_catalogue_once_and_then_agrees_with_it() {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", testbed::kafka());
    topics::apply(&client, 1).await.unwrap();
    let again = topics::apply(&client, 1).await.unwrap();
    assert!(again.created.is_empty());
    assert_eq!(again.present.len(), topics::all().count());
    assert_eq!(
        topics::differences(&client).await.unwrap(),
        Vec::<String>::new()
    );
}
