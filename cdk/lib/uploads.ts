/**
 * The source of uploads: our own bucket or an existing one. It notifies a queue of every change.
 */
import { Aws } from "aws-cdk-lib";
import { PolicyStatement, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { BucketNotificationDestinationType, CfnBucket, EventType, IBucket } from "aws-cdk-lib/aws-s3";
import { IQueue } from "aws-cdk-lib/aws-sqs";
import { Construct, IDependable } from "constructs";

import { BucketOptions, uploadsBucket } from "./buckets.ts";
import { uploadsExpireDays } from "./config.ts";
import { TuflineRepositoryProps } from "./props.ts";
import { queuePolicy } from "./queues.ts";

/** The prefix of uploads. The rest of a key is the target's name. */
export const UPLOADS_PREFIX = "targets/";

/** The prefix of the documents that other parties sign, `delegations/ROLE.json`. */
export const DELIVERIES_PREFIX = "delegations/";

/** The bucket of uploads, which sends its events to `queue`. */
export function uploads(
  scope: Construct,
  props: TuflineRepositoryProps,
  queue: IQueue,
  options: BucketOptions,
): IBucket {
  // When S3 receives the notification's configuration, it checks that it may send. So the queue
  // needs this policy first, and the policy can't name the bucket. Another bucket of the account
  // could send too; that is harmless, since a message is only a hint.
  const mayNotify = new PolicyStatement({
    sid: "BucketsOfThisAccount",
    principals: [new ServicePrincipal("s3.amazonaws.com")],
    actions: ["sqs:SendMessage"],
    resources: [queue.queueArn],
    conditions: { StringEquals: { "aws:SourceAccount": Aws.ACCOUNT_ID } },
  });
  const policy = queuePolicy(scope, "UploadsMayNotify", queue, [mayNotify], options.emulator)!;
  if (props.uploadsBucket) {
    notifyFromExisting(props.uploadsBucket, queue, policy);
    return props.uploadsBucket;
  }
  const bucket = uploadsBucket(scope, options, UPLOADS_PREFIX, uploadsExpireDays(props));
  notify(bucket.node.defaultChild as CfnBucket, queue, policy);
  return bucket;
}

/**
 * Sets the notification in the template. CDK's own way would add a custom resource with a function.
 */
function notify(bucket: CfnBucket, queue: IQueue, policy: IDependable): void {
  const configurations = [UPLOADS_PREFIX, DELIVERIES_PREFIX].flatMap((prefix) =>
    ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"].map((event) => ({
      event,
      filter: { s3Key: { rules: [{ name: "prefix", value: prefix }] } },
      queue: queue.queueArn,
    })),
  );
  bucket.notificationConfiguration = { queueConfigurations: configurations };
  bucket.node.addDependency(policy);
}

/** Adds the notification to those of an existing bucket, by CDK's custom resource. */
function notifyFromExisting(bucket: IBucket, queue: IQueue, policy: IDependable): void {
  const type = BucketNotificationDestinationType.QUEUE;
  // The queue has its policy already; CDK's destination for queues would replace it.
  const destination = { bind: () => ({ arn: queue.queueArn, type, dependencies: [policy] }) };
  for (const event of [EventType.OBJECT_CREATED, EventType.OBJECT_REMOVED]) {
    bucket.addEventNotification(event, destination, { prefix: UPLOADS_PREFIX });
    bucket.addEventNotification(event, destination, { prefix: DELIVERIES_PREFIX });
  }
}
