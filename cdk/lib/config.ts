/**
 * Checks the operator's choices, and writes them as `TUFLINE_CONFIG` for the functions
 * (`shared/tuf/src/config/`).
 */
import { Duration } from "aws-cdk-lib";

import { ONLINE_KEYS, OnlineKey } from "./permissions.ts";
import { LargeUploads, Packs, Removals, ReservedConcurrency, Throttle, TuflineRepositoryProps } from "./props.ts";
import { refuse } from "./refusal.ts";

/** The roles for whose documents the operator chooses a lifetime. */
export const EXPIRING = ["timestamp", "snapshot", "targets"] as const;
export type Expiring = (typeof EXPIRING)[number];

/**
 * The defaults of `shared/tuf/src/config/`. The alarms and the check of their order need them here.
 */
const EXPIRIES: Record<Expiring, Duration> = {
  timestamp: Duration.days(1),
  snapshot: Duration.days(7),
  targets: Duration.days(90),
};

const SHORTEST_TIMESTAMP = Duration.hours(1);
const LARGEST_OBJECT = 50_000_000_000_000;
const LARGEST_INLINE = 4 * 1024 * 1024;
/** The defaults and limits of `shared/tuf/src/config/`. */
const LARGE_UPLOADS = { above: 256 * 2 ** 20, piece: 4 * 2 ** 20, copyAbove: 5_000_000_000 };
const MOST_ABOVE = 2 ** 30;
const MOST_PIECE = 4 * 2 ** 20;
const SMALLEST_PART = 5 * 2 ** 20;
const LARGEST_PART = 5 * 2 ** 30;
const SHORTEST_RETENTION_DAYS = 15;
const LONGEST_RETENTION_DAYS = 65_535;

/** How long each role's documents are valid, in seconds. */
export type Lifetimes = Readonly<Record<Expiring, number>>;

/** The lifetimes, including defaults. Refuses lifetimes that can't work. */
export function lifetimes({ expiries = {} }: TuflineRepositoryProps): Lifetimes {
  const { timestamp, snapshot, targets } = { ...EXPIRIES, ...withoutUndefined(expiries) };
  const shortest = SHORTEST_TIMESTAMP.toSeconds();
  if (timestamp.toSeconds() < shortest) {
    const why = "refresh looks at it once a minute, and an alarm at a quarter of it must leave time to act";
    refuse("expiries.timestamp", spoken(timestamp), why, `give it ${spoken(SHORTEST_TIMESTAMP)} at least`);
  }
  for (const [role, own, before, other] of [
    ["snapshot", snapshot, "timestamp", timestamp],
    ["targets", targets, "snapshot", snapshot],
  ] as const) {
    if (own.toSeconds() < other.toSeconds()) {
      const why = `the ${before}, which depends on it, is valid for longer (${spoken(other)})`;
      refuse(`expiries.${role}`, spoken(own), why, `give it that at least, or the ${before} less`);
    }
  }
  return { timestamp: timestamp.toSeconds(), snapshot: snapshot.toSeconds(), targets: targets.toSeconds() };
}

/** After how many days uploads expire; `undefined` if they don't. */
export function uploadsExpireDays({ retention }: TuflineRepositoryProps): number | undefined {
  const after = retention?.uploadsExpireAfter;
  if (after === undefined) return undefined;
  const days = after.toDays({ integral: false });
  if (!Number.isInteger(days)) {
    refuse("retention.uploadsExpireAfter", spoken(after), "S3 expires objects by the day", "give it whole days");
  }
  if (days < SHORTEST_RETENTION_DAYS) {
    const why = "a message about an upload may wait for 14 days, and must still find it";
    refuse("retention.uploadsExpireAfter", spoken(after), why, `give it ${SHORTEST_RETENTION_DAYS} days at least`);
  }
  return wholeNumber("retention.uploadsExpireAfter in days", days, 0, LONGEST_RETENTION_DAYS);
}

/**
 * `TUFLINE_CONFIG`. It contains only the operator's choices; for the rest the functions use their
 * own defaults.
 */
export function config(props: TuflineRepositoryProps): string {
  const valid = lifetimes(props);
  const expiry = EXPIRING.filter((role) => props.expiries?.[role]).map((role) => [role, `${valid[role]}s`]);
  return JSON.stringify({
    expiry: expiry.length > 0 ? Object.fromEntries(expiry) : undefined,
    hashing: props.hashing,
    removals: props.removals && removals(props.removals),
    largest_target: wholeNumber("largestTarget", props.largestTarget, 1, LARGEST_OBJECT),
    uploads_expire_days: uploadsExpireDays(props),
    max_targets_per_bin: wholeNumber("maxTargetsPerBin", props.maxTargetsPerBin, 1, 10_000),
    signatures_at_once: wholeNumber("signaturesAtOnce", props.signaturesAtOnce, 1, 256),
    inline_targets: wholeNumber("inlineTargets", props.inlineTargets, 0, LARGEST_INLINE),
    large_uploads: props.largeUploads && largeUploads(props.largeUploads),
    nested_delegations: props.nestedDelegations,
    offline_targets: props.offlineTargets,
    trusted_root: trustedRoot(props),
  });
}

function trustedRoot({ trustedRoot }: TuflineRepositoryProps): string | undefined {
  if (trustedRoot === undefined || Number.isSafeInteger(firstRootIn(trustedRoot))) return trustedRoot;
  const how = "give it what `tufline root show` calls contents, with the root's version and a colon in front if that is not 1 (15:CONTENTS)";
  return refuse("trustedRoot", `'${trustedRoot}'`, "it is not a SHA-256 in 64 lowercase hex digits", how);
}

/**
 * The version in a `trustedRoot`, read as `PinnedRoot` in `shared/tuf/src/root/pinned.rs` does;
 * `NaN` if it is malformed.
 */
function firstRootIn(trustedRoot: string): number {
  const [, version = "1"] = /^(?:([1-9][0-9]*):)?[0-9a-f]{64}$/.exec(trustedRoot) ?? [undefined, "NaN"];
  return Number(version);
}

/** The version of the first root in the repository's chain of roots. */
export function firstRoot(props: TuflineRepositoryProps): number {
  return firstRootIn(trustedRoot(props) ?? "0".repeat(64));
}

function removals({ percent, atLeast }: Removals): object {
  return {
    percent: wholeNumber("removals.percent", percent, 0, 100),
    at_least: wholeNumber("removals.atLeast", atLeast, 0, Number.MAX_SAFE_INTEGER),
  };
}

function largeUploads({ above, piece, run, copyAbove, copyPart }: LargeUploads): object {
  const leastCopied = above ?? LARGE_UPLOADS.above;
  return {
    above: wholeNumber("largeUploads.above", above, 0, MOST_ABOVE),
    piece: wholeNumber("largeUploads.piece", piece, 1, MOST_PIECE),
    run: wholeNumber("largeUploads.run", run, piece ?? LARGE_UPLOADS.piece, Number.MAX_SAFE_INTEGER),
    copy_above: wholeNumber("largeUploads.copyAbove", copyAbove, leastCopied, LARGE_UPLOADS.copyAbove),
    copy_part: wholeNumber("largeUploads.copyPart", copyPart, SMALLEST_PART, LARGEST_PART),
  };
}

/** The numbers of each role's keys, the oldest first. */
export function keyNumbers({ onlineKeys = {} }: TuflineRepositoryProps): Record<OnlineKey, number[]> {
  const numbers = (key: OnlineKey): number[] => {
    const given = onlineKeys[key] ?? [1];
    const rises = given.every((number, index) => index === 0 || number > given[index - 1]!);
    if (given.length === 0 || !rises) {
      const why = "these are the numbers of the role's keys, the oldest first";
      refuse(`onlineKeys.${key}`, JSON.stringify(given), why, "give it rising numbers, such as [1] or [1, 2]");
    }
    return given.map((number) => wholeNumber(`onlineKeys.${key}`, number, 1, 1000));
  };
  return Object.fromEntries(ONLINE_KEYS.map((key) => [key, numbers(key)])) as Record<OnlineKey, number[]>;
}

/** How long changes are collected. SQS takes whole seconds. */
export function batchWindow({ batchWindow = Duration.seconds(1) }: TuflineRepositoryProps): Duration {
  wholeNumber("batchWindow in seconds", batchWindow.toMilliseconds() / 1000, 1, 300);
  return batchWindow;
}

/** The stages for which an operator may reserve concurrency. */
const RESERVABLE = ["sign", "publish", "refresh", "pack"] as const;
/** Lambda's default quota for an account. */
const MOST_CONCURRENCY = 1000;
/** Far above any quota of API Gateway. The account's own quota applies too. */
const MOST_REQUESTS = 1_000_000;

/** The reserved concurrency. Refuses a value that would stop a stage. */
export function reservedConcurrency({ reservedConcurrency = {} }: TuflineRepositoryProps): ReservedConcurrency {
  for (const stage of RESERVABLE) {
    wholeNumber(`reservedConcurrency.${stage}`, reservedConcurrency[stage], 1, MOST_CONCURRENCY);
  }
  return reservedConcurrency;
}

/** The limit on devices' requests. Refuses one under which hardly any request would be answered. */
export function throttle({ throttle }: TuflineRepositoryProps): Throttle | undefined {
  return checkedThrottle("throttle", throttle);
}

/**
 * Whether devices may ask for packs, and the limit on them. Refuses a limit under which hardly any
 * pack would be answered.
 */
export function packs({ packs = {} }: TuflineRepositoryProps): Packs & { readonly enabled: boolean } {
  checkedThrottle("packs.throttle", packs.throttle);
  return { ...packs, enabled: packs.enabled ?? true };
}

function checkedThrottle(prop: string, throttle: Throttle | undefined): Throttle | undefined {
  if (throttle === undefined) return undefined;
  wholeNumber(`${prop}.rate`, throttle.rate, 1, MOST_REQUESTS);
  wholeNumber(`${prop}.burst`, throttle.burst, throttle.rate, MOST_REQUESTS);
  return throttle;
}

function wholeNumber<N extends number | undefined>(prop: string, value: N, least: number, most: number): N {
  if (value === undefined || (Number.isInteger(value) && value >= least && value <= most)) return value;
  return refuse(prop, value, "that is out of its range", `give it a whole number from ${least} to ${most}`);
}

function withoutUndefined<T extends object>(values: T): { [K in keyof T]: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never;
}

function spoken(duration: Duration): string {
  return duration.toHumanString();
}
