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
  "WriteConditionally",
]);

/** The statements that go into a template. */
export function keptStatements(statements: PolicyStatement[], emulator: boolean): PolicyStatement[] {
  return statements.filter((statement) => !(emulator && LEFT_OUT.has(statement.sid ?? "")));
}

/**
 * Under IAM enforcement the emulator doesn't let its root user assume the roles that `cdk bootstrap` makes, so there
 * the CLI deploys with its own credentials. In the template this drops the check of the bootstrap's version (the
 * parameter `BootstrapVersion` and the rule `CheckBootstrapVersion`), and nothing else.
 */
export function synthesizer(emulator: boolean): IReusableStackSynthesizer {
  return emulator ? new CliCredentialsStackSynthesizer() : new DefaultStackSynthesizer();
}
