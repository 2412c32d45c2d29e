/**
 * The one place that says what a deployment on the local AWS emulator leaves out.
 *
 * `cdk synth` with and without `-c emulator=true` differs in exactly this, and a test compares the two templates.
 * Everything else that the emulator does differently is in `tests/emulator.md`.
 */
import { CliCredentialsStackSynthesizer, DefaultStackSynthesizer, IReusableStackSynthesizer } from "aws-cdk-lib";
import { PolicyStatement } from "aws-cdk-lib/aws-iam";

/** Statements, by `Sid`, that the emulator cannot evaluate: with them it would refuse every request. */
export const LEFT_OUT: ReadonlySet<string> = new Set([
  // It speaks plain HTTP on the loopback address.
  "OnlyOverTls",
  // It doesn't know the condition keys `s3:if-none-match` and `s3:if-match`.
  "WriteOnce",
  "WriteOnceInParts",
  "WriteConditionally",
]);

/** Condition keys that the emulator doesn't know: what is allowed under them it would refuse. */
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

/** The emulator has no CloudFront: there devices ask the API. */
export function inFrontOf<T>(chosen: T | undefined, emulator: boolean): T | undefined {
  return emulator ? undefined : chosen;
}

/** Nor has it AWS IoT: there devices have keys of their own. */
export function ofIot<T>(chosen: T | undefined, emulator: boolean): T | undefined {
  return emulator ? undefined : chosen;
}

/** What the URL of a JWT's issuer may begin with. API Gateway wants HTTPS; the emulator asks an issuer on loopback. */
export function issuerSchemes(emulator: boolean): string[] {
  return emulator ? ["https://", "http://127.0.0.1"] : ["https://"];
}

/**
 * Under IAM enforcement the emulator doesn't let its root user assume the roles that `cdk bootstrap` makes, so there
 * the CLI deploys with its own credentials. In the template this drops the check of the bootstrap's version (the
 * parameter `BootstrapVersion` and the rule `CheckBootstrapVersion`), and nothing else.
 */
export function synthesizer(emulator: boolean): IReusableStackSynthesizer {
  return emulator ? new CliCredentialsStackSynthesizer() : new DefaultStackSynthesizer();
}
