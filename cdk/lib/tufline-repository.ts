/** The construct that assembles a whole repository. */
import { Aws, Stack } from "aws-cdk-lib";
import { HttpApi, IDomainName } from "aws-cdk-lib/aws-apigatewayv2";
import { IDistribution } from "aws-cdk-lib/aws-cloudfront";
import { EventBus } from "aws-cdk-lib/aws-events";
import { IGrantable, ManagedPolicy, PolicyDocument, PolicyStatement } from "aws-cdk-lib/aws-iam";
import { IKey } from "aws-cdk-lib/aws-kms";
import { Architecture, Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import { RetentionDays } from "aws-cdk-lib/aws-logs";
import { IBucket } from "aws-cdk-lib/aws-s3";
import { IStringParameter, StringParameter } from "aws-cdk-lib/aws-ssm";
import { Construct } from "constructs";

import { checkAccess, checkCloudFront, packMaxAge } from "./access.ts";
import { alarms } from "./alarms.ts";
import { deviceApi, deviceArns, ReadOptions } from "./api.ts";
import { ledgerBucket, repositoryBucket } from "./buckets.ts";
import { programs } from "./bundle.ts";
import { chunkFunction, chunkQueue } from "./chunk.ts";
import { deviceDistribution } from "./cloudfront.ts";
import { batchWindow, config, firstRoot, keyNumbers, lifetimes, packs, reservedConcurrency, throttle } from "./config.ts";
import { dashboard } from "./dashboard.ts";
import { DeviceMetrics, DeviceUrls } from "./devices.ts";
import { inFrontOf } from "./emulator.ts";
import { consume, logGroup, role, stageFunction, visibilityTimeout } from "./functions.ts";
import { delivering, grant, operating, uploading, UploadOptions } from "./grants.ts";
import { onlineKey } from "./keys.ts";
import { RepositoryMetrics } from "./metrics.ts";
import { capitalized, record, repositoryName } from "./names.ts";
import {
  allow,
  ONLINE_KEYS,
  OnlineKey,
  permissions,
  QUEUES,
  READERS,
  Resources,
  SIGNERS,
  Stage,
  programOf,
  STAGES,
} from "./permissions.ts";
import { TuflineRepositoryProps } from "./props.ts";
import { deadLetterQueue, queue, queuePolicy } from "./queues.ts";
import { refuse } from "./refusal.ts";
import { everyMinute } from "./schedule.ts";
import { uploads, UPLOADS_PREFIX } from "./uploads.ts";
import { VERSION } from "./version.ts";
import { acknowledgeWildcards } from "./wildcards.ts";

/**
 * A TUF repository that publishes what its uploads bucket receives, and serves it to devices.
 *
 * Buckets and keys are kept for good: they stay when the stack is deleted, and no change of a prop
 * replaces them.
 */
export class TuflineRepository extends Construct {
  /** The repository's name; its resources' names begin with it. */
  readonly name: string;
  /**
   * The names of all resources and the operator's choices, as the environment variables that
   * functions and operators' tools read. They are names only: a function's role decides what it may
   * do with them.
   */
  readonly environment: Readonly<Record<string, string>>;
  /**
   * {@link environment}, and what only outsiders need: the devices' URLs and access, the region,
   * and Tufline's version.
   */
  readonly variables: Readonly<Record<string, string>>;
  readonly functions: Readonly<Record<Stage, LambdaFunction>>;
  readonly uploads: IBucket;
  readonly events: EventBus;
  /** The API for devices, without CloudFront. */
  readonly api?: HttpApi;
  /** The distribution for devices, with CloudFront. A domain's DNS record must point at it. */
  readonly distribution?: IDistribution;
  /**
   * The API's domain, under mTLS without CloudFront. The domain's DNS record must point at it
   * (`regionalDomainName`, `regionalHostedZoneId`).
   */
  readonly domain?: IDomainName;
  /**
   * The operators' policy (see `grants.ts`). Attach it to their roles, or to a permission set by
   * its name.
   */
  readonly operatorPolicy: ManagedPolicy;

  private readonly resources: Resources;
  private readonly keys: Record<OnlineKey, IKey[]>;
  private readonly parameter: IStringParameter;
  private readonly props: TuflineRepositoryProps;

  constructor(scope: Construct, id: string, props: TuflineRepositoryProps) {
    super(scope, id);
    this.props = props;
    const emulator = props.emulator ?? false;
    const retention = props.retention?.logs ?? RetentionDays.ONE_MONTH;
    const window = batchWindow(props);
    const configuration = config(props);
    const numbers = keyNumbers(props);
    const concurrency = { ...reservedConcurrency(props) };
    const limit = throttle(props);
    const packsChosen = packs(props);
    checkAccess(props.access, emulator);
    const cached = props.cloudFront && checkCloudFront(props);
    const name = (this.name = repositoryName(this, props.name));
    for (const other of Stack.of(this).node.findAll()) {
      if (other instanceof TuflineRepository && other !== this && other.name === name) {
        refuse(
          "name",
          `'${name}'`,
          `${other.node.path} has it already`,
          "give each repository of a stack a name of its own",
        );
      }
    }

    const deadLetters = record(QUEUES, (queue) => deadLetterQueue(this, name, queue));
    const queues = record(QUEUES, (each) =>
      queue(this, name, each, visibilityTimeout(each, window), deadLetters[each]),
    );
    for (const each of QUEUES) {
      queuePolicy(this, `${capitalized(each)}DeadLettersPolicy`, deadLetters[each], [], emulator);
      if (each !== "uploads") queuePolicy(this, `${capitalized(each)}QueuePolicy`, queues[each], [], emulator);
    }
    const options = { encryptionKey: props.encryptionKey, emulator };
    this.uploads = uploads(this, props, queues.uploads, options);
    this.events = new EventBus(this, "Events");
    const repository = repositoryBucket(this, options, firstRoot(props), props.replaceRoots);
    this.resources = {
      uploads: this.uploads,
      uploadsPrefix: UPLOADS_PREFIX,
      repository,
      ledger: ledgerBucket(this, options),
      queues,
      deadLetters,
      bus: this.events,
      ...(props.chunks && { chunks: chunkQueue(this, name, repository, emulator) }),
    };
    const logs = record(STAGES, (stage) => logGroup(this, name, stage, retention));
    const roles = record(STAGES, (stage) => {
      return role(this, name, stage, logs[stage], permissions(stage, this.resources));
    });
    this.keys = record(ONLINE_KEYS, (key) => {
      const of = (stages: Stage[]) => stages.map((stage) => roles[stage]);
      const users = { signers: of(SIGNERS[key]), readers: of(READERS[key]) };
      return numbers[key].map((number) => onlineKey(this, name, key, number, users, emulator));
    });

    this.environment = {
      ...environment(this.resources, this.keys),
      TUFLINE_CONFIG: configuration,
      TUFLINE_REPOSITORY: name,
    };
    const architecture = props.architecture ?? Architecture.ARM_64;
    const code = programs(props);
    const functions = record(STAGES, (stage) => {
      const own: Record<string, string> = stage === "pack" ? { TUFLINE_PACK_MAX_AGE: String(packMaxAge(props.access)) } : {};
      const options = { architecture, environment: { ...this.environment, ...own }, code: code[programOf(stage)] };
      return stageFunction(this, name, stage, logs[stage], roles[stage], concurrency, options);
    });
    this.functions = functions;
    for (const each of QUEUES) consume(functions, each, queues[each], window);
    everyMinute(this, name, functions.refresh);
    const { chunks } = this.resources;
    const cutting = chunks && {
      ...chunks,
      function: chunkFunction(this, name, {
        repository,
        queue: chunks.queue,
        retention,
        architecture,
        code: code.devices,
        environment: this.environment,
      }),
    };

    const { serve, pack } = functions;
    const access = inFrontOf(cached, emulator);
    let devices: DeviceUrls & { readonly metrics: DeviceMetrics };
    if (access) {
      const asked = packsChosen.enabled ? pack : undefined;
      const made = deviceDistribution(this, name, { access, chosen: props.cloudFront!, serve, pack: asked, repository });
      this.distribution = made.distribution;
      devices = made;
    } else {
      const made = deviceApi(this, name, { access: props.access, serve, pack, packs: packsChosen, retention, limit });
      this.api = made.api;
      if (made.domain) this.domain = made.domain;
      devices = made;
    }
    const { metadataUrl, targetsUrl, packUrl } = devices;
    this.variables = {
      ...this.environment,
      TUFLINE_METADATA_URL: metadataUrl,
      TUFLINE_TARGETS_URL: targetsUrl,
      ...(packUrl && { TUFLINE_PACK_URL: packUrl }),
      TUFLINE_ACCESS: props.access.mode,
      TUFLINE_VERSION: VERSION,
      AWS_REGION: Aws.REGION,
    };
    this.parameter = new StringParameter(this, "Variables", {
      parameterName: `/tufline/${name}`,
      description: `Names and settings of ${name}, for tufline --stack ${name}`,
      stringValue: Stack.of(this).toJsonString(this.variables),
    });
    this.operatorPolicy = this.policyOfOperators();

    const metrics = new RepositoryMetrics(name);
    const watched = { name, metrics, queues, deadLetters, functions, devices: devices.metrics, ...(cutting && { chunks: cutting }) };
    const raised = alarms(this, { ...watched, lifetimes: lifetimes(props), topic: props.alarmTopic });
    dashboard(this, { ...watched, alarms: raised });
  }

  /**
   * Lets a build system upload artifacts, remove them, and read why one was refused; with a prefix
   * such as `gateway/`, only names below it. A build system sees what is published as a device
   * does: under IAM access it needs {@link grantRead} too.
   */
  grantUpload(grantee: IGrantable, options: UploadOptions = {}): void {
    grant(this, "grantUpload", grantee, uploading(this.resources, this.parameter, options));
  }

  /**
   * Lets another party upload `delegations/ROLE.json` and the files that it lists, below `paths`
   * such as `vendor-x/*`. `tufline delegation create` decides who may sign for the role.
   */
  grantDelivery(grantee: IGrantable, role: string, ...paths: string[]): void {
    grant(this, "grantDelivery", grantee, delivering(this.resources, role, paths, this.parameter));
  }

  /** Lets a device read, under IAM access. */
  grantRead(grantee: IGrantable, options: ReadOptions = {}): void {
    grant(this, "grantRead", grantee, [this.reading(options, "grantRead")]);
  }

  /** The statement that {@link grantRead} adds, for another kind of policy. */
  reading(options: ReadOptions = {}, what = "it"): PolicyStatement {
    if (this.props.access.mode !== "iam" || !this.api) {
      const why = "IAM lets devices in under access 'iam' only";
      refuse("access", `'${this.props.access.mode}'`, why, `leave ${what} out, or change the access`);
    }
    return allow(["execute-api:Invoke"], ...deviceArns(this.api, packs(this.props).enabled, options));
  }

  /**
   * Grants a role the rights of {@link operatorPolicy}. Attach that to a user or a group instead:
   * a policy of their own may not be so long
   * (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).
   */
  grantOperate(grantee: IGrantable): void {
    grant(this, "grantOperate", grantee, operating(this.name, this.resources, this.keys, this.parameter));
  }

  private policyOfOperators(): ManagedPolicy {
    const statements = operating(this.name, this.resources, this.keys, this.parameter);
    // All regions share IAM's names.
    const policy = new ManagedPolicy(this, "Operator", {
      managedPolicyName: `${this.name}-operator-${Aws.REGION}`,
      description: `Operates the TUF repository ${this.name}`,
      document: new PolicyDocument({ statements, minimize: true }),
    });
    acknowledgeWildcards(policy, statements, "An operator may read everything in the repository");
    return policy;
  }
}

/** The contract with the functions and the command line: one variable for each resource. */
function environment(resources: Resources, keys: Record<OnlineKey, IKey[]>): Record<string, string> {
  const each = <N extends string>(kind: string, names: readonly N[], value: (name: N) => string) =>
    Object.fromEntries(names.map((name) => [`TUFLINE_${kind}_${name.toUpperCase()}`, value(name)]));
  return {
    TUFLINE_UPLOADS_BUCKET: resources.uploads.bucketName,
    TUFLINE_UPLOADS_PREFIX: resources.uploadsPrefix,
    TUFLINE_REPOSITORY_BUCKET: resources.repository.bucketName,
    TUFLINE_LEDGER_BUCKET: resources.ledger.bucketName,
    ...each("QUEUE", QUEUES, (name) => resources.queues[name].queueUrl),
    ...each("DLQ", QUEUES, (name) => resources.deadLetters[name].queueUrl),
    ...(resources.chunks && {
      TUFLINE_QUEUE_CHUNK: resources.chunks.queue.queueUrl,
      TUFLINE_DLQ_CHUNK: resources.chunks.deadLetters.queueUrl,
    }),
    ...each("KEY", ONLINE_KEYS, (name) => keys[name].map((key) => key.keyArn).join(",")),
    TUFLINE_EVENT_BUS: resources.bus.eventBusName,
  };
}
