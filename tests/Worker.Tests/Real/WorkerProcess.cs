using System.Diagnostics;
using Worker.Checks;

namespace Worker.Tests.Real;

/// <summary>The worker as a process of its own, so that it can be killed.</summary>
internal sealed class WorkerProcess : IDisposable
{
    private readonly Process _process;

    private WorkerProcess(Process process) => _process = process;

    public static string? QemuProblem => QemuProbe.Locate(null) is null ? "qemu-system-aarch64 is not installed" : null;

    /// <summary>Where guest images lie: SANDBOX_TEST_IMAGES, or the checkout's own.</summary>
    public static string? Images
    {
        get
        {
            if (Environment.GetEnvironmentVariable("SANDBOX_TEST_IMAGES") is { Length: > 0 } named)
                return named;
            for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
                if (File.Exists(Path.Combine(folder.FullName, "Sandbox.sln")) || Directory.Exists(Path.Combine(folder.FullName, ".git")))
                    return File.Exists(Path.Combine(folder.FullName, ".sandbox/images/guest/image.json")) ? Path.Combine(folder.FullName, ".sandbox/images") : null;
            return null;
        }
    }

    public static WorkerProcess Start(string stateDirectory, string images, string apiUrl, string tokenFile)
    {
        var start = Command();
        start.Environment["Worker__ApiUrl"] = apiUrl;
        start.Environment["Worker__TokenFile"] = tokenFile;
        start.Environment["Worker__StateDirectory"] = stateDirectory;
        start.Environment["Worker__ImagesDirectory"] = images;
        return new WorkerProcess(Process.Start(start)!);
    }

    public static async Task<int> DestroyAllAsync(string stateDirectory)
    {
        var start = Command();
        foreach (var argument in (string[])["destroy-all", "--state-directory", stateDirectory])
            start.ArgumentList.Add(argument);
        using var process = Process.Start(start)!;
        await process.WaitForExitAsync();
        return process.ExitCode;
    }

    public void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    /// <summary>The exit code after SIGTERM, and how long the end took.</summary>
    public async Task<(int ExitCode, TimeSpan Took)> TerminateAsync(CancellationToken ct)
    {
        const int terminate = 15;
        var watch = Stopwatch.StartNew();
        _ = LibC.Kill(_process.Id, terminate);
        await _process.WaitForExitAsync(ct);
        return (_process.ExitCode, watch.Elapsed);
    }

    public void Dispose()
    {
        if (!_process.HasExited)
            Kill();
        _process.Dispose();
    }

    private static ProcessStartInfo Command()
    {
        if (Environment.GetEnvironmentVariable("SANDBOX_TEST_WORKER") is { Length: > 0 } published)
            return new ProcessStartInfo(published);
        var start = new ProcessStartInfo("dotnet");
        // The worker lies beside the tests, with their packages and frameworks.
        foreach (var argument in (string[])["exec", "--runtimeconfig", Beside("Sandbox.Worker.Tests.runtimeconfig.json"), "--depsfile", Beside("Sandbox.Worker.Tests.deps.json"), Beside("Sandbox.Worker.dll")])
            start.ArgumentList.Add(argument);
        return start;
    }

    private static string Beside(string name) => Path.Combine(AppContext.BaseDirectory, name);
}
