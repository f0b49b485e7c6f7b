using Xunit;

namespace Testing;

/// <summary>What ./sandbox test prepares for the tests and tells them through the environment.
/// What the script always provides is demanded: its absence fails a test, so that nothing is left out in silence.
/// What only some machines can have is asked for through <see cref="SkipReason"/>.</summary>
public static class Surroundings
{
    /// <summary>Connection string of a role that may create databases, on a cluster that lives as long as this run.</summary>
    public static string Postgres => Demand("SANDBOX_TEST_POSTGRES");

    /// <summary>Published programs: api, worker, migrations, and the page in web.</summary>
    public static string Build => Demand("SANDBOX_TEST_BUILD");

    /// <summary>Guest images, each in a folder of its name.</summary>
    public static string Images => Demand("SANDBOX_TEST_IMAGES");

    /// <summary>Root of the working tree.</summary>
    public static string Repository => Demand("SANDBOX_REPOSITORY");

    /// <summary>The script removes this directory and ends every process that was started from it or with this variable.</summary>
    public static string TemporaryRoot => Demand("SANDBOX_TEST_DIRECTORY");

    /// <summary>A new directory of the caller's own, which other users may pass but not list.</summary>
    public static string NewDirectory(string prefix)
    {
        var path = Path.Combine(TemporaryRoot, $"{prefix}-{Guid.NewGuid().ToString("N")[..8]}");
        Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
            | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute);
        return path;
    }

    internal static string? Optional(string variable) =>
        Environment.GetEnvironmentVariable(variable) is { Length: > 0 } value ? value : null;

    private static string Demand(string variable) =>
        Optional(variable) ?? throw new InvalidOperationException($"{variable} is not set: run the tests with ./sandbox test");
}

/// <summary>Why a test does not apply to a machine. A reason names what is missing and what would bring it; a test that is skipped
/// for anything the script could have installed is a failure of the script.</summary>
public static class SkipReason
{
    /// <summary>The browser's path; skips the test where there is none (Ubuntu's package is no program but a snap).</summary>
    public static string? ChromiumOrSkip()
    {
        var path = Surroundings.Optional("SANDBOX_TEST_CHROMIUM");
        Assert.SkipWhen(path is null, "no chromium on this machine: install Debian's package chromium");
        return path;
    }

    /// <summary>Prometheus' checker; skips the test where Debian's package could not be had.</summary>
    public static string? PromtoolOrSkip()
    {
        var path = Surroundings.Optional("SANDBOX_TEST_PROMTOOL");
        Assert.SkipWhen(path is null, "no promtool on this machine: it comes from Debian's package prometheus (see what ./sandbox test said about it)");
        return path;
    }

    /// <summary>Where Spectral and Redocly are installed; skips the test where npm could not bring them.</summary>
    public static string? OpenApiToolsOrSkip()
    {
        var path = Surroundings.Optional("SANDBOX_TEST_OPENAPI");
        Assert.SkipWhen(path is null, "no OpenAPI linters on this machine: npm brings them from tests/OpenApi/package-lock.json (see what ./sandbox test said about it)");
        return path;
    }

    /// <summary>A disk with cloud-init for arm64, qcow2 or (by its name) raw; skips the test where nobody has named or built one, which takes minutes.</summary>
    public static string? CloudImageOrSkip()
    {
        var path = Surroundings.Optional("SANDBOX_TEST_CLOUD_IMAGE");
        Assert.SkipWhen(path is null, "no cloud image: ./sandbox image debian builds one; or name one in SANDBOX_TEST_CLOUD_IMAGE, such as Debian's debian-13-genericcloud-arm64.qcow2");
        return path;
    }

    /// <summary>Skips the test where the emulated node could not be built; the script has said why.</summary>
    public static void WithoutEmulatedNode() => Assert.SkipWhen(
        Surroundings.Optional("SANDBOX_TEST_NODE") is null, "no emulated node on this machine: it needs QEMU 11 and an SVA kernel (see what ./sandbox test said about it)");
}
