/**
 * The only place that says what a deployment on the local AWS emulator omits.
 *
 * `cdk synth` with and without `-c emulator=true` differs in exactly this; a test compares the two
 * templates. `tests/emulator.md` lists everything else that the emulator does differently.
 */
import { CliCredentialsStackSynthesizer, DefaultStackSynthesizer, IReusableStackSynthesizer } from "aws-cdk-lib";
import { PolicyStatement } from "aws-cdk-lib/aws-iam";

/**
 * The `Sid`s of statements that the emulator can't evaluate: with them it would refuse every
 * request.
 */
export const LEFT_OUT: ReadonlySet<string> = new Set([
  // The emulator speaks plain HTTP on the loopback address.
  "OnlyOverTls",
  // The emulator doesn't know the condition keys `s3:if-none-match` and `s3:if-match`.
  "WriteOnce",
  "WriteOnceInParts",
  "WriteConditionally",
]);

/**
 * Condition keys that the emulator doesn't know: it would refuse everything that is allowed under
 * them.
 */
export const LEFT_OUT_CONDITIONS: ReadonlySet<string> = new Set(["kms:SigningAlgorithm", "kms:MessageType"]);

/** The statements that go into a template. */
export function keptStatements(statements: PolicyStatement[], emulator: boolean): PolicyStatement[] {
  if (!emulator) return statements;
  return statements.filter((statement) => !LEFT_OUT.has(statement.sid ?? "")).map(withKnownConditions);
}

function withKnownConditions(statement: PolicyStatement): PolicyStatement {
  const known = Object.entries<Record<string, unknown>>(statement.conditions).map(([operator, keys]) => {
    return [
      operator,
      Object.fromEntries(Object.entries(keys).filter(([key]) => !LEFT_OUT_CONDITIONS.has(key))),
    ] as const;
  });
  return statement.copy({ conditions: Object.fromEntries(known.filter(([, keys]) => Object.keys(keys).length > 0)) });
}

/** The emulator has no CloudFront: there devices use the API. */
export function inFrontOf<T>(chosen: T | undefined, emulator: boolean): T | undefined {
  return emulator ? undefined : chosen;
}

/** Nor has it AWS IoT: there devices have keys of their own. */
export function ofIot<T>(chosen: T | undefined, emulator: boolean): T | undefined {
  return emulator ? undefined : chosen;
}

/**
 * What the URL of a JWT's issuer may begin with. API Gateway wants HTTPS; the emulator asks an
 * issuer on loopback.
 */
export function issuerSchemes(emulator: boolean): string[] {
  return emulator ? ["https://", "http://127.0.0.1"] : ["https://"];
}

/**
 * With IAM enforcement, the emulator doesn't let its root user assume the roles that `cdk
 * bootstrap` makes. There the CLI deploys with its own credentials. The template then lacks the
 * check of the bootstrap's version (the parameter `BootstrapVersion` and the rule
 * `CheckBootstrapVersion`), and nothing else.
 */
export function synthesizer(emulator: boolean): IReusableStackSynthesizer {
  return emulator ? new CliCredentialsStackSynthesizer() : new DefaultStackSynthesizer();
}
