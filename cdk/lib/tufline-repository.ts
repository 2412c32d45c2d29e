import { Duration, RemovalPolicy, Stack } from "aws-cdk-lib";
import { EventBus } from "aws-cdk-lib/aws-events";
import { Effect, PolicyDocument, PolicyStatement, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { Key, KeySpec, KeyUsage } from "aws-cdk-lib/aws-kms";
import { Architecture, Code, Function as LambdaFunction, Runtime } from "aws-cdk-lib/aws-lambda";
import { SqsEventSource, SqsEventSourceProps } from "aws-cdk-lib/aws-lambda-event-sources";
import { LogGroup, RetentionDays } from "aws-cdk-lib/aws-logs";
import { BlockPublicAccess, Bucket, CfnBucket, ObjectOwnership } from "aws-cdk-lib/aws-s3";
import { Schedule, ScheduleExpression } from "aws-cdk-lib/aws-scheduler";
import { LambdaInvoke } from "aws-cdk-lib/aws-scheduler-targets";
import { IQueue, Queue, QueuePolicy } from "aws-cdk-lib/aws-sqs";
import { Construct } from "constructs";

import { keepForever, onlyOverTls, writeConditionally, writeOnce } from "./bucket-policies.ts";
import { keptStatements } from "./emulator.ts";
import { ONLINE_KEYS, OnlineKey, permissions, QUEUES, QueueName, Resources, Stage, STAGES } from "./permissions.ts";

export interface TuflineRepositoryProps {
  /** Folder with the functions' binary, named `bootstrap`, built for {@link architecture}. */
  readonly bundle: string;
  /**
   * Processor that the binary is built for.
   *
   * @default Architecture.ARM_64
   */
  readonly architecture?: Architecture;
  /**
   * Leaves out what the local AWS emulator cannot evaluate: see `emulator.ts`. Never set it on AWS.
   *
   * @default false
   */
  readonly emulator?: boolean;
}

/** Uploads count below this prefix only; the rest of a key is the name of the target. */
const UPLOADS_PREFIX = "targets/";

/** A message is tried this often before it goes to the dead-letter queue. */
const MAX_RECEIVES = 5;

/** The longest that SQS allows: a dead letter waits for the redrive that refresh makes, and a backlog for its stage. */
const MESSAGE_RETENTION = Duration.days(14);

/** AWS asks for a visibility timeout of six times the function's timeout, so that throttled batches aren't lost. */
const VISIBILITY_PER_TIMEOUT = 6;

/** How long each stage may run, in seconds, and its memory, in MiB. */
const SIZES: Record<Stage, { timeout: number; memory: number }> = {
  hash: { timeout: 60, memory: 512 },
  rebuild: { timeout: 60, memory: 1024 },
  // One message group each: a crash there holds all that follows, so they must time out soon.
  sign: { timeout: 30, memory: 256 },
  publish: { timeout: 30, memory: 256 },
  refresh: { timeout: 60, memory: 256 },
};

/** Which stage works off which queue, and in what batches. */
const CONSUMERS: Record<QueueName, { stage: Stage; fifo: boolean; batches: SqsEventSourceProps }> = {
  // AWS wants a window of a second at least where a batch may exceed 10 messages.
  uploads: { stage: "hash", fifo: false, batches: { batchSize: 100, maxBatchingWindow: Duration.seconds(1) } },
  // Few and large batches: each makes one generation, and two attempts at the same one cost more than they gain.
  changes: {
    stage: "rebuild",
    fifo: false,
    batches: { batchSize: 10_000, maxBatchingWindow: Duration.seconds(1), maxConcurrency: 2 },
  },
  sign: { stage: "sign", fifo: true, batches: { batchSize: 10 } },
  publish: { stage: "publish", fifo: true, batches: { batchSize: 10 } },
};

function record<K extends string, V>(names: readonly K[], make: (name: K) => V): Record<K, V> {
  return Object.fromEntries(names.map((name) => [name, make(name)])) as Record<K, V>;
}

function capitalized(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}

/**
 * A TUF repository that publishes what is dropped in its uploads bucket.
 *
 * Buckets, queues, functions, keys and the schedule of the pipeline. What is kept for good (buckets and keys) stays
 * when the stack is deleted.
 */
export class TuflineRepository extends Construct {
  /**
   * The names of all resources, as the environment variables that functions and operators' tools read them from.
   * They are names only: what a function may do with them is its role's affair.
   */
  readonly environment: Readonly<Record<string, string>>;
  readonly functions: Readonly<Record<Stage, LambdaFunction>>;

  private readonly emulator: boolean;

  constructor(scope: Construct, id: string, props: TuflineRepositoryProps) {
    super(scope, id);
    this.emulator = props.emulator ?? false;

    const deadLetters = record(QUEUES, (name) => this.deadLetterQueue(name));
    const queues = record(QUEUES, (name) => this.queue(name, deadLetters[name]));
    const keys = record(ONLINE_KEYS, (name) => this.onlineKey(name));
    const resources: Resources = {
      uploads: this.uploadsBucket(queues.uploads),
      uploadsPrefix: UPLOADS_PREFIX,
      repository: this.repositoryBucket(),
      ledger: this.ledgerBucket(),
      queues,
      deadLetters,
      keys,
      bus: new EventBus(this, "Events"),
    };

    this.environment = environment(resources);
    const code = Code.fromAsset(props.bundle);
    const architecture = props.architecture ?? Architecture.ARM_64;
    this.functions = record(STAGES, (stage) => this.stage(stage, code, architecture, resources));

    for (const name of QUEUES) {
      const { stage, batches } = CONSUMERS[name];
      const source = new SqsEventSource(queues[name], { ...batches, reportBatchItemFailures: true });
      this.functions[stage].addEventSource(source);
    }
    new Schedule(this, "EveryMinute", {
      description: "Keeps the timestamp fresh and picks up work that lost its hint",
      schedule: ScheduleExpression.rate(Duration.minutes(1)),
      // Not tried again: the next minute comes anyway.
      target: new LambdaInvoke(this.functions.refresh, { retryAttempts: 0, maxEventAge: Duration.minutes(1) }),
    });
  }

  private deadLetterQueue(name: QueueName): Queue {
    const { fifo } = CONSUMERS[name];
    return new Queue(this, `${capitalized(name)}DeadLetters`, {
      queueName: this.queueName(`${name}-dlq`, fifo),
      ...(fifo && { fifo }),
      retentionPeriod: MESSAGE_RETENTION,
    });
  }

  private queue(name: QueueName, deadLetters: IQueue): Queue {
    const { stage, fifo } = CONSUMERS[name];
    return new Queue(this, `${capitalized(name)}Queue`, {
      queueName: this.queueName(name, fifo),
      ...(fifo && { fifo }),
      retentionPeriod: MESSAGE_RETENTION,
      visibilityTimeout: Duration.seconds(SIZES[stage].timeout * VISIBILITY_PER_TIMEOUT),
      deadLetterQueue: { queue: deadLetters, maxReceiveCount: MAX_RECEIVES },
    });
  }

  /** Queues carry the stack's name, so that several repositories fit into one account. */
  private queueName(name: string, fifo: boolean): string {
    return `${Stack.of(this).stackName}-${name}${fifo ? ".fifo" : ""}`;
  }

  private onlineKey(name: OnlineKey): Key {
    return new Key(this, `${capitalized(name)}Key`, {
      description: `TUF ${name} key of ${Stack.of(this).stackName}`,
      keySpec: KeySpec.ECC_NIST_P256,
      keyUsage: KeyUsage.SIGN_VERIFY,
      removalPolicy: RemovalPolicy.RETAIN,
    });
  }

  /** What every bucket has, with statements of its own for its policy. */
  private bucket(id: string, policy: (bucket: Bucket) => PolicyStatement[]): Bucket {
    const bucket = new Bucket(this, id, {
      versioned: true,
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      objectOwnership: ObjectOwnership.BUCKET_OWNER_ENFORCED,
      removalPolicy: RemovalPolicy.RETAIN,
      lifecycleRules: [{ id: "abandoned-multipart-uploads", abortIncompleteMultipartUploadAfter: Duration.days(7) }],
    });
    for (const statement of keptStatements([onlyOverTls(bucket), ...policy(bucket)], this.emulator)) {
      bucket.addToResourcePolicy(statement);
    }
    return bucket;
  }

  private uploadsBucket(queue: Queue): Bucket {
    const bucket = this.bucket("Uploads", () => []);
    // S3 checks that it may send when it is given the notification, so the bucket needs this policy first, and the
    // policy can't name the bucket in turn. Another bucket of this account might send too: a message is a hint only.
    const mayNotify = new QueuePolicy(this, "UploadsMayNotify", { queues: [queue] });
    mayNotify.document.addStatements(
      new PolicyStatement({
        sid: "BucketsOfThisAccount",
        effect: Effect.ALLOW,
        principals: [new ServicePrincipal("s3.amazonaws.com")],
        actions: ["sqs:SendMessage"],
        resources: [queue.queueArn],
        conditions: { StringEquals: { "aws:SourceAccount": Stack.of(this).account } },
      }),
    );
    // In the template itself: the L2 construct would bring a custom resource with a function of its own.
    const resource = bucket.node.defaultChild as CfnBucket;
    const filter = { s3Key: { rules: [{ name: "prefix", value: UPLOADS_PREFIX }] } };
    resource.notificationConfiguration = {
      queueConfigurations: ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"].map((event) => ({
        event,
        filter,
        queue: queue.queueArn,
      })),
    };
    resource.node.addDependency(mayNotify);
    return bucket;
  }

  private repositoryBucket(): Bucket {
    const bucket = this.bucket("Repository", (bucket) => [
      keepForever(bucket, "blobs/*", "metadata/*"),
      // All but `timestamp.json` have a version in their name, and so two dots. Copies carry no conditions: `blobs/`
      // is made by copying, and needs none, since a blob's name is its hash.
      writeOnce(bucket, "metadata/*.*.json"),
      writeConditionally(bucket, "metadata/*"),
    ]);
    // Copies that hash makes to learn a checksum; a later attempt makes them again.
    bucket.addLifecycleRule({
      id: "incoming",
      prefix: "incoming/",
      expiration: Duration.days(2),
      noncurrentVersionExpiration: Duration.days(1),
    });
    bucket.addLifecycleRule({ id: "incoming-delete-markers", prefix: "incoming/", expiredObjectDeleteMarker: true });
    return bucket;
  }

  private ledgerBucket(): Bucket {
    return this.bucket("Ledger", (bucket) => [
      keepForever(bucket, "*"),
      writeOnce(bucket, "drafts/*", "generations/*"),
      writeConditionally(bucket, "*"),
    ]);
  }

  private stage(stage: Stage, code: Code, architecture: Architecture, resources: Resources): LambdaFunction {
    const id = capitalized(stage);
    const logGroup = new LogGroup(this, `${id}Log`, {
      logGroupName: `/aws/lambda/${Stack.of(this).stackName}-${stage}`,
      retention: RetentionDays.ONE_MONTH,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const role = new Role(this, `${id}Role`, {
      description: `The ${stage} function of ${Stack.of(this).stackName}`,
      assumedBy: new ServicePrincipal("lambda.amazonaws.com"),
      inlinePolicies: {
        [stage]: new PolicyDocument({
          statements: [
            new PolicyStatement({
              actions: ["logs:CreateLogStream", "logs:PutLogEvents"],
              resources: [logGroup.logGroupArn],
            }),
            ...permissions(stage, resources),
          ],
        }),
      },
    });
    const { timeout, memory } = SIZES[stage];
    return new LambdaFunction(this, id, {
      code,
      architecture,
      runtime: Runtime.PROVIDED_AL2023,
      handler: stage,
      role,
      logGroup,
      timeout: Duration.seconds(timeout),
      memorySize: memory,
      environment: this.environment,
    });
  }
}

/** The contract with the functions and the command line: one variable for each resource. */
function environment(resources: Resources): Record<string, string> {
  const each = <N extends string>(kind: string, names: readonly N[], value: (name: N) => string) =>
    Object.fromEntries(names.map((name) => [`TUFLINE_${kind}_${name.toUpperCase()}`, value(name)]));
  return {
    TUFLINE_UPLOADS_BUCKET: resources.uploads.bucketName,
    TUFLINE_UPLOADS_PREFIX: resources.uploadsPrefix,
    TUFLINE_REPOSITORY_BUCKET: resources.repository.bucketName,
    TUFLINE_LEDGER_BUCKET: resources.ledger.bucketName,
    ...each("QUEUE", QUEUES, (name) => resources.queues[name].queueUrl),
    ...each("DLQ", QUEUES, (name) => resources.deadLetters[name].queueUrl),
    ...each("KEY", ONLINE_KEYS, (name) => resources.keys[name].keyArn),
    TUFLINE_EVENT_BUS: resources.bus.eventBusName,
  };
}
