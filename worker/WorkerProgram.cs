using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Worker;

/// <summary>What is executed to run the worker's own program with a verb: the arguments go before it.</summary>
internal sealed record WorkerProgram(string Path, IReadOnlyList<string> Arguments)
{
    /// <summary>Started through dotnet where the worker was, so that the same published files serve every architecture, or else by itself.</summary>
    public static readonly WorkerProgram Own = Of(System.Environment.ProcessPath, AppContext.BaseDirectory);

    internal static WorkerProgram Of(string? process, string directory) => System.IO.Path.GetFileName(process) == "dotnet"
        ? new(process!, [System.IO.Path.Combine(directory, "Sandbox.Worker.dll")])
        : new(System.IO.Path.Combine(directory, "Sandbox.Worker"), []);

    /// <summary>All that such a process needs of an environment.</summary>
    public static IReadOnlyDictionary<string, string> Environment
    {
        get
        {
            var environment = new Dictionary<string, string> { ["DOTNET_EnableDiagnostics"] = "0" };
            // The program finds the runtime by itself only where it is installed for all.
            if (RuntimeFeature.IsDynamicCodeSupported && System.IO.Path.GetFullPath(System.IO.Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "../../..")) is { Length: > 1 } root)
                environment["DOTNET_ROOT"] = root;
            return environment;
        }
    }
}
