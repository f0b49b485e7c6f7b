using System.ComponentModel;
using System.Diagnostics;
using System.Text.RegularExpressions;
using Worker.Vms.Kvmtool;

namespace Worker.Checks;

/// <summary>What the installed kvmtool says it can do. A null <see cref="Version"/>: there is none that could run.
/// <c>Options</c>: of lkvm run, without dashes. <c>MissingPrograms</c>: of those that its launcher needs besides.</summary>
public sealed record KvmtoolFacts(string? Path, string? Version, IReadOnlySet<string> Options, IReadOnlyList<string> MissingPrograms)
{
    public static readonly KvmtoolFacts None = new(null, null, new HashSet<string>(), []);

    public IReadOnlyList<string> MissingOptions => Version is null ? [] : [.. KvmtoolCommandLine.Needed.Where(option => !Options.Contains(option))];

    /// <summary>The version, where a guest can be started with it; what NodeFacts.KvmtoolVersion tells.</summary>
    public string? UsableVersion(bool kvm) => kvm && MissingOptions.Count == 0 && MissingPrograms.Count == 0 ? Version : null;
}

// Asks lkvm itself, once for each worker. It has no single version number to go by (its builds are snapshots), so its options are read from its help.
public static partial class KvmtoolProbe
{
    private const string Program = "lkvm";
    private const int MaxVersionLength = 64;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    [GeneratedRegex("^ +(?:-[A-Za-z0-9], )?--([a-z0-9][a-z0-9-]*)", RegexOptions.Multiline)]
    private static partial Regex OptionLine();

    [GeneratedRegex(@"\A(?:kvm ?tool )?v?([0-9A-Za-z][0-9A-Za-z.+_-]*)\s*\z")]
    private static partial Regex VersionLine();

    // configured: A name that is looked for in PATH, or a path.
    public static async Task<KvmtoolFacts> AskAsync(string? configured, CancellationToken ct)
    {
        if (QemuProbe.Locate(string.IsNullOrEmpty(configured) ? Program : configured) is not { } path)
            return KvmtoolFacts.None;
        // Its help comes by the way of an error: on standard error, with a status that is not 0.
        var version = await RunAsync(path, ["version"], ct);
        var help = await RunAsync(path, ["run", "--help"], ct);
        return ParseVersion(version) is { } found
            ? new KvmtoolFacts(path, found, ParseOptions(help), [.. KvmtoolLauncher.NeededPrograms.Where(program => QemuProbe.Locate(program) is null)])
            : KvmtoolFacts.None;
    }

    internal static string? ParseVersion(string said) =>
        VersionLine().Match(said.Split('\n')[0].Trim()) is { Success: true } match && match.Groups[1].Length <= MaxVersionLength ? match.Groups[1].Value : null;

    internal static IReadOnlySet<string> ParseOptions(string help) => OptionLine().Matches(help).Select(match => match.Groups[1].Value).ToHashSet(StringComparer.Ordinal);

    private static async Task<string> RunAsync(string path, IReadOnlyList<string> arguments, CancellationToken ct)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(ct);
        limit.CancelAfter(Limit);
        var start = new ProcessStartInfo(path) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        // It makes a directory in HOME whatever it is asked.
        start.Environment["HOME"] = "/nonexistent";
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);
        try
        {
            using var process = Process.Start(start);
            if (process is null)
                return "";
            process.StandardInput.Close();
            try
            {
                var errors = process.StandardError.ReadToEndAsync(limit.Token);
                var output = await process.StandardOutput.ReadToEndAsync(limit.Token);
                output += await errors;
                await process.WaitForExitAsync(limit.Token);
                return output;
            }
            catch (OperationCanceledException) when (!ct.IsCancellationRequested)
            {
                process.Kill();
                return "";
            }
        }
        catch (Win32Exception)
        {
            return "";
        }
    }
}
