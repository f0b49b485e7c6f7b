using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.Versioning;
using System.Text;
using Contracts;

namespace GuestAgent;

/// <summary>Applies what the user asked for at creation. A marker in the boot's own memory keeps user data from running twice.</summary>
[SupportedOSPlatform("linux")]
internal static class Configuration
{
    public const string Folder = "/run/sandbox";
    private const string Script = Folder + "/user-data";
    private const string Outcome = Folder + "/user-data.outcome";
    private const string KeysFolder = "/root/.ssh";
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    public static AgentConfigured Apply(AgentConfigure configure, Workload workload)
    {
        try
        {
            Directory.CreateDirectory(Folder, OwnerOnly | UnixFileMode.UserExecute);
            if (configure.SshKeys is { Count: > 0 } keys)
            {
                Directory.CreateDirectory(KeysFolder, OwnerOnly | UnixFileMode.UserExecute);
                Write(KeysFolder + "/authorized_keys", string.Join('\n', keys) + "\n", OwnerOnly);
            }
            if (string.IsNullOrEmpty(configure.UserData))
                return new(false, null);
            if (File.Exists(Outcome))
                return new(true, int.TryParse(File.ReadAllText(Outcome), out var code) ? code : null);
            Write(Script, configure.UserData, OwnerOnly | UnixFileMode.UserExecute);
            return configure.UserData.StartsWith("#!", StringComparison.Ordinal) ? Run(workload) : new(false, null);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine($"sandbox-agent: the configuration could not be stored: {error.Message}");
            return new(false, null);
        }
    }

    private static AgentConfigured Run(Workload workload)
    {
        Write(Outcome, "", OwnerOnly);
        try
        {
            // Output goes to the console, which the agent has from init; keys typed there are not the script's.
            using var process = Process.Start(new ProcessStartInfo(Script) { RedirectStandardInput = true, WorkingDirectory = "/root" });
            if (process is null)
                return new(false, null);
            workload.Begin(process.Id);
            process.StandardInput.Close();
            process.WaitForExit();
            workload.End();
            Write(Outcome, process.ExitCode.ToString(CultureInfo.InvariantCulture), OwnerOnly);
            return new(true, process.ExitCode);
        }
        catch (Win32Exception error)
        {
            Console.Error.WriteLine($"sandbox-agent: user data could not be run: errno {error.NativeErrorCode}");
            return new(false, null);
        }
    }

    private static void Write(string path, string text, UnixFileMode mode)
    {
        File.Delete(path);
        using var stream = new FileStream(path, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = mode });
        stream.Write(Encoding.UTF8.GetBytes(text));
    }
}
