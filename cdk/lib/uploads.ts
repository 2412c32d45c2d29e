/** Where uploads come from: our own bucket or an existing one, which tells the queue of every change. */
import { Aws } from "aws-cdk-lib";
import { PolicyStatement, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { BucketNotificationDestinationType, CfnBucket, EventType, IBucket } from "aws-cdk-lib/aws-s3";
import { IQueue } from "aws-cdk-lib/aws-sqs";
import { Construct, IDependable } from "constructs";

import { BucketOptions, uploadsBucket } from "./buckets.ts";
import { uploadsExpireDays } from "./config.ts";
import { TuflineRepositoryProps } from "./props.ts";
import { queuePolicy } from "./queues.ts";

/** Uploads count below this prefix only; the rest of a key is the name of the target. */
export const UPLOADS_PREFIX = "targets/";

/** What other parties sign lies below this one, as `delegations/ROLE.json`. */
export const DELIVERIES_PREFIX = "delegations/";

/** The bucket of uploads, whose events go to `queue`. */
export function uploads(
  scope: Construct,
  props: TuflineRepositoryProps,
  queue: IQueue,
  options: BucketOptions,
): IBucket {
  // S3 checks that it may send when it is given the notification, so the bucket needs this policy first, and the
  // policy can't name the bucket in turn. Another bucket of this account might send too: a message is a hint only.
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

/** In the template itself: CDK's own way would bring a custom resource with a function of its own. */
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

/** Beside the notifications that the bucket has, by CDK's custom resource. */
function notifyFromExisting(bucket: IBucket, queue: IQueue, policy: IDependable): void {
  const type = BucketNotificationDestinationType.QUEUE;
  // The queue's policy is made already; CDK's destination for queues would make another, in its place.
  const destination = { bind: () => ({ arn: queue.queueArn, type, dependencies: [policy] }) };
  for (const event of [EventType.OBJECT_CREATED, EventType.OBJECT_REMOVED]) {
    bucket.addEventNotification(event, destination, { prefix: UPLOADS_PREFIX });
    bucket.addEventNotification(event, destination, { prefix: DELIVERIES_PREFIX });
  }
}
